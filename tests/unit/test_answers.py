"""Headers that a hostile address answers with, read without harm."""

import httpx
from hypothesis import example, given
from hypothesis import strategies as st

from clearstem.guarded import _announced, _disposed_name
from clearstem.media import extension_of_type

VALUES = st.one_of(
    st.text(st.characters(max_codepoint=255, exclude_characters="\r\n")),
    st.lists(
        st.sampled_from(
            (
                *("attachment", "; ", "filename=", "filename*=", "filename*0*=", '"', "UTF-8''"),
                *("%ff", "nonsense'x'", "\\", "a.wav", "=?utf-8?b?YQ==?=", "..", "/", "\x00", "é"),
            )
        )
    ).map("".join),
)


@given(VALUES)
@example("; filename*0*=a; filename*=b")
@example("; filename*=\x00'x'%ff")
def test_any_disposition_gives_a_name_or_none(value):
    assert isinstance(_disposed_name(value), str | None)


@given(VALUES)
def test_any_type_gives_an_extension_or_none(value):
    assert isinstance(extension_of_type(value), str | None)


@given(st.one_of(VALUES, st.integers(0, 10**30).map(str), st.just("9" * 10_000)))
def test_any_length_is_a_number_or_unknown(value):
    answer = httpx.Response(200, headers={"Content-Length": value.encode("latin-1")})
    assert isinstance(_announced(answer), int | None)
