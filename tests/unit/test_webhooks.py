"""Deliveries over their whole life: made once, tried by the schedule, given up, sent again."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from email.utils import format_datetime

import pytest

from clearstem.addresses import Answered
from clearstem.errors import Conflict, DeliveryNotFound, UrlRefused, UrlUnreachable, WebhookNotFound
from clearstem.job_events import EventKind, JobEvent, logged
from clearstem.jobs import Job
from clearstem.retention import RetentionTable
from clearstem.webhook_deliveries import SCHEDULE_S, Delivery, DeliveryState, DeliveryTable
from clearstem.webhook_endpoints import Endpoint, EndpointTable
from clearstem.webhook_secrets import Secrets, new_secret
from clearstem.webhooks import Announcer, Courier, order_of
from tests.unit.examples import START, a_job
from tests.unit.memory_queue import Clock, MemoryQueue

GONE, GOOD, BAD = Answered(410), Answered(204), Answered(500)


@dataclass
class World:
    """All parts over one table, one queue, one clock and one receiver."""

    client: object
    clock: Clock = field(default_factory=lambda: Clock(START))
    answers: list[Answered | Exception] = field(default_factory=list)
    posts: list[tuple[float, str, Mapping[str, str]]] = field(default_factory=list)
    always: Answered | Exception = GOOD

    def __post_init__(self) -> None:
        self.orders, self.dead = MemoryQueue(self.clock), MemoryQueue(self.clock)
        self.endpoints = EndpointTable(self.client, "clearstem")  # type: ignore[arg-type]
        self.deliveries = DeliveryTable(self.client, "clearstem")  # type: ignore[arg-type]
        self.announcer = Announcer(
            self.endpoints,
            self.deliveries,
            queue=self.orders.queue,
            retention=RetentionTable(self.client, "clearstem"),  # type: ignore[arg-type]
            now=self.clock,
        )
        self.courier = Courier(
            self.endpoints,
            self.deliveries,
            queue=self.orders.queue,
            dead_letters=self.dead.queue,
            post=self.post,
            now=self.clock,
        )

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answered:
        self.posts.append(((self.clock.at - START).total_seconds(), url, headers))
        answer = self.answers.pop(0) if self.answers else self.always
        if isinstance(answer, Exception):
            raise answer
        return answer

    def endpoint(self, name: str = "hook", **fields: object) -> Endpoint:
        endpoint = Endpoint(name, "ada", f"https://example.org/{name}", START)
        made = replace(endpoint, secrets=Secrets(new_secret()), **fields)
        return self.endpoints.register(made)

    def announce(self, job: Job | None = None, kind: EventKind = EventKind.QUEUED) -> int:
        job = job or a_job()
        event = replace(logged(None, job)[1][0], kind=kind)
        return self.announcer.announce(job, event, body='{"type":"job.queued"}')

    def run(self, *, messages: int = 1000) -> None:
        """Work through the queue, in time."""
        for _ in range(messages):
            order = self.orders.take()
            if order is None:
                return
            self.courier.deliver(order)

    def delivery(self, webhook_id: str = "hook") -> Delivery:
        return self.deliveries.get(f"evt_{a_job().job_id}_1", webhook_id=webhook_id)

    @property
    def times(self) -> list[float]:
        return [at for at, _, _ in self.posts]


@pytest.fixture
def world(dynamodb) -> World:
    return World(dynamodb)


def test_an_event_goes_once_to_every_endpoint_that_wants_it(world):
    world.endpoint("all")
    world.endpoint("ends", events=(EventKind.SUCCEEDED,))
    other = replace(world.endpoint("other"), owner="bob")
    world.endpoints.register(other)
    job = replace(a_job(), callback_url="https://example.org/own")
    assert world.announce(job) == 3
    world.run()
    urls = sorted(url for _, url, _ in world.posts)
    assert urls == [f"https://example.org/{name}" for name in ("all", "other", "own")]
    assert {headers["webhook-id"] for _, _, headers in world.posts} == {f"evt_{job.job_id}_1"}


def test_an_event_told_twice_is_recorded_once_and_its_message_is_made_good(world):
    world.endpoint()
    world.announce()
    world.orders.waiting.clear()  # the process died before it had queued
    world.announce()
    world.run()
    world.announce()  # the stream's record comes again, long after
    world.run()
    assert len(world.posts) == 1


def test_attempts_follow_the_schedule_and_end_in_the_dead_letters(world):
    world.endpoint()
    world.always = BAD
    world.announce()
    world.run()
    waits = [later - sooner for sooner, later in zip(world.times, world.times[1:], strict=False)]
    assert world.times[0] == 0
    # Each hop is rounded up to SQS's whole seconds.
    assert waits == pytest.approx(SCHEDULE_S[1:], abs=2)
    told = world.delivery()
    assert (told.state, told.attempts) == (DeliveryState.FAILED, len(SCHEDULE_S))
    assert [order.event_id for _, order in world.dead.waiting] == [told.event_id]
    assert told.tries[-1].error == "the receiver answered 500"
    # Every hop between the attempts too.
    assert len(world.orders.groups) > len(SCHEDULE_S)
    assert set(world.orders.groups) == {"ada"}


def test_a_receiver_that_comes_back_is_told_under_the_same_id(world):
    world.endpoint()
    world.answers = [BAD, UrlUnreachable("the address does not answer"), GOOD]
    world.announce()
    world.run()
    assert world.times == pytest.approx([0, 5, 305], abs=2)
    assert len({headers["webhook-id"] for _, _, headers in world.posts}) == 1
    told = world.delivery()
    assert told.state is DeliveryState.DELIVERED
    assert [made.error is None for made in told.tries] == [False, False, True]


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 404, 500, 503])
def test_what_is_no_2xx_is_a_failure_a_redirect_too(world, status):
    world.endpoint()
    world.answers = [Answered(status), GOOD]
    world.announce()
    world.run()
    assert [made.status for made in world.delivery().tries] == [status, 204]


def test_an_address_that_is_refused_is_tried_again_like_any_other(world):
    world.endpoint()
    world.answers = [UrlRefused("the address does not lead to a public host")]
    world.announce()
    world.run()
    assert world.delivery().state is DeliveryState.DELIVERED


@pytest.mark.parametrize("name", ["hook", "cb_"])
def test_a_410_disables_what_answered_it_and_nothing_else(world, name):
    other = world.endpoint("other")
    if name == "hook":
        gone, job = world.endpoint(), a_job()
    else:
        job = replace(a_job(), callback_url="https://example.org/own")
        gone = Endpoint(f"cb_{job.job_id}", "ada", "", START)
    original = world.post

    def post(url, body, headers):
        original(url, body, headers)
        return GOOD if url == other.url else GONE

    world.courier = replace(world.courier, post=post)
    world.announce(job)
    world.run()
    assert len(world.posts) == 2
    assert world.announce(job, EventKind.STARTED) == 1  # the other one
    assert world.endpoints.get(gone.webhook_id, owner="ada").disabled_at is not None
    assert world.delivery(gone.webhook_id).state is DeliveryState.FAILED
    with pytest.raises(Conflict):
        world.announcer.redeliver(
            world.delivery(gone.webhook_id).event_id,
            endpoint=world.endpoints.get(gone.webhook_id, owner="ada"),
        )


def _in_two_hours() -> str:
    return format_datetime(START + timedelta(hours=2), usegmt=True)


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [
        ("120", 120),
        ("1", 5),  # never sooner than the schedule
        (_in_two_hours(), 7200),
        ("99999999999999999999", 86_400),  # a day at most
        ("soon", 5),
        ("-7", 5),
        ("٣", 5),
        ("Sat, 99 Foo 2026 00:00:00 GMT", 5),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", 5),
        ("Mon, 01 Jan 2024 00:00:99999999999999999999 GMT", 5),
        ("Mon, 01 Jan 2024 00:00:00 +99999999999999", 5),
    ],
)
def test_retry_after_is_honoured_and_nonsense_in_it_is_not(world, header, wait_s):
    world.endpoint()
    world.answers = [Answered(503, header), GOOD]
    world.announce()
    world.run()
    assert world.times == pytest.approx([0, wait_s], abs=120 * 0.02 + wait_s * 0.02)


def test_messages_that_come_twice_late_or_out_of_turn_make_no_attempt_of_their_own(world):
    world.endpoint()
    world.answers = [BAD]
    world.announce()
    first = order_of(world.delivery())
    world.run()
    assert len(world.posts) == 2
    for _ in range(3):
        assert world.courier.deliver(first) is None
    assert len(world.posts) == 2


def test_an_attempt_whose_telling_was_lost_is_made_again_and_none_is_left_out(world):
    world.endpoint()
    world.always = BAD
    world.announce()
    seen = world.delivery()
    world.courier.deliver(world.orders.take())
    # The process died after it had queued the next message and before it wrote.
    world.deliveries.replace(world.delivery(), seen)
    world.always = GOOD
    world.run()
    assert world.delivery().state is DeliveryState.DELIVERED


def test_a_lost_message_is_made_good_by_the_sweep(world):
    world.endpoint()
    world.announce()
    world.orders.waiting.clear()
    assert list(world.announcer.wake()) == []  # it may still come
    world.clock.forward(700)
    assert [woken.event_id for woken in world.announcer.wake()] == [world.delivery().event_id]
    assert list(world.announcer.wake()) == []  # not twice for one loss
    world.run()
    assert world.delivery().state is DeliveryState.DELIVERED
    world.clock.forward(7000)
    assert list(world.announcer.wake()) == []


def test_what_is_waiting_for_its_turn_is_not_taken_for_lost(world):
    world.endpoint()
    world.always = BAD
    world.announce()
    world.run(messages=3)  # the next attempt is half an hour away
    world.clock.forward(1200)
    assert list(world.announcer.wake()) == []


def test_a_delivery_given_up_can_be_sent_again_with_the_whole_schedule_before_it(world):
    endpoint = world.endpoint()
    world.always = BAD
    world.announce()
    world.run()
    world.posts.clear()
    world.announcer.redeliver(world.delivery().event_id, endpoint=endpoint)
    world.run()
    assert len(world.posts) == len(SCHEDULE_S)
    world.always = GOOD
    world.announcer.redeliver(world.delivery().event_id, endpoint=endpoint)
    world.run()
    assert world.delivery().state is DeliveryState.DELIVERED


def test_what_was_never_sent_cannot_be_sent_again(world):
    with pytest.raises(DeliveryNotFound):
        world.announcer.redeliver("evt_none_1", endpoint=world.endpoint())


def test_what_is_on_its_way_to_a_deleted_webhook_is_dropped(world):
    world.endpoint()
    world.announce()
    world.endpoints.delete("hook", owner="ada", at=START)
    world.run()
    assert world.posts == []
    assert world.delivery().tries[-1].error == "the webhook was deleted"


def test_a_deleted_callback_stays_silent_for_the_jobs_later_events(world):
    job = replace(a_job(), callback_url="https://example.org/own")
    world.announce(job)
    world.endpoints.delete(f"cb_{job.job_id}", owner="ada", at=START)
    assert world.announce(job, EventKind.STARTED) == 0


def test_nobody_reaches_another_owners_webhook(world):
    world.endpoint()
    for ask in (
        lambda: world.endpoints.get("hook", owner="bob"),
        lambda: world.endpoints.delete("hook", owner="bob", at=START),
        lambda: world.endpoints.rotate("hook", owner="bob", rotation="r1", at=START),
    ):
        with pytest.raises(WebhookNotFound):
            ask()


def test_callbacks_of_all_an_owners_jobs_have_one_secret_and_no_other_owners(world):
    endpoint = Endpoint("cb_1", "ada", "https://example.org", START)
    first = world.endpoints.secrets_of(endpoint)
    assert world.endpoints.secrets_of(replace(endpoint, webhook_id="cb_2")) == first
    assert world.endpoints.secrets_of(replace(endpoint, owner="bob")) != first
    rotated = world.endpoints.rotate("callbacks", owner="ada", rotation="r1", at=START)
    assert (rotated.previous, world.endpoints.secrets_of(endpoint)) == (first.current, rotated)


def test_an_owner_has_ten_webhooks_at_most(world):
    for number in range(10):
        world.endpoint(f"hook{number}")
    with pytest.raises(Conflict):
        world.endpoint("one-more")


def test_the_log_of_deliveries_is_paged_newest_first(world):
    world.endpoint()
    job = a_job()
    for number in range(8, 13):
        # Two of them, 9 and 10, are of one change, and so of one time.
        moment = START + timedelta(seconds=9 if number == 10 else number)
        event = JobEvent(number, EventKind.STARTED, moment, 1, 0.0)
        world.announcer.announce(job, event, body="{}")
    numbers, cursor = [], None
    while True:
        page = world.deliveries.page("hook", owner="ada", limit=2, cursor=cursor)
        numbers += [int(delivery.event_id.rpartition("_")[2]) for delivery in page.deliveries]
        cursor = page.cursor
        if cursor is None:
            break
    assert numbers == [12, 11, 10, 9, 8]
    assert world.deliveries.page("hook", owner="bob", limit=2).deliveries == ()


def test_a_deleted_jobs_deliveries_go_when_they_are_over_and_no_other_jobs(world):
    world.endpoint("quick")
    world.endpoint("slow")
    original = world.post

    def post(url, body, headers):
        original(url, body, headers)
        return BAD if url.endswith("slow") else GOOD

    world.courier = replace(world.courier, post=post)
    other = a_job("11111111-1111-1111-1111-111111111111")
    world.announce(other)
    world.announce()
    world.run(messages=4)
    cleared = world.deliveries.clear(a_job().job_id)
    assert (cleared.removed, cleared.pending) == (1, 1)
    with pytest.raises(DeliveryNotFound):
        world.delivery("quick")
    world.always = GOOD
    world.courier = replace(world.courier, post=original)
    world.run()
    assert world.delivery("slow").state is DeliveryState.DELIVERED
    cleared = world.deliveries.clear(a_job().job_id)
    assert (cleared.removed, cleared.pending) == (1, 0)
    for name in ("quick", "slow"):
        (left,) = world.deliveries.page(name, owner="ada", limit=9).deliveries
        assert left.job_id == other.job_id


def test_deliveries_to_a_webhook_that_is_gone_are_found_by_their_job(world):
    world.endpoint()
    world.announce()
    world.run()
    world.endpoints.delete("hook", owner="ada", at=START)
    assert world.deliveries.clear(a_job().job_id).removed == 1
    assert world.deliveries.clear(a_job().job_id).removed == 0
