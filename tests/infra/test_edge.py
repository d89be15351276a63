"""The distribution in front, and its function in the language it runs in."""

import json
import subprocess
from urllib.parse import parse_qsl, unquote_plus, urlsplit

import boto3
import pytest

from clearstem.service import CLIENT_CONFIG
from functions.routes.addresses import HOST
from infra import synth
from infra.local.edge import query_of
from tests.infra.reading import of_type, only

SOURCE = synth.ROOT / "infra" / "edge_function.js"
HOST_SOURCE = synth.ROOT / "infra" / "host_function.js"
JOB = "0b9d1c9e-5f43-4c8e-9f3a-2f8f3a6f0c11"
CHINA = "amazonaws.com.cn"
OTHER = "ffffffff-ffff-4fff-8fff-ffffffffffff"

ADDRESSES = (
    "/v1/wss",
    "/v1/wss/",
    "/v1/wss?api_key=cs_1&empty=",
    f"/v1/wss?job_id={JOB}",
    f"/v1/wss/job/{JOB}",
    f"/v1/wss/job/{JOB.upper()}",
    f"/v1/wss/remove-noise/{JOB}/status",
    f"/v1/wss/job/{JOB}?api_key=cs_1&a=1&a=2",
    # Another job, or another dialect, behind the path's back.
    f"/v1/wss/job/{JOB}?job_id={OTHER}",
    f"/v1/wss/job/{JOB}?job_id={OTHER}&job_id={OTHER}&dialect=audo",
    f"/v1/wss/job/{JOB}?job%5Fid={OTHER}&%64ialect=audo",
    f"/v1/wss/job/{JOB}?%6a%6F%62%5f%69%64={OTHER}",
    f"/v1/wss/remove-noise/{JOB}/status?dialect=pipeline&x=%26job_id%3D{OTHER}",
    f"/v1/wss/job/{JOB}?a+b=1&job_id+={OTHER}",
    # No such path.
    "/v1/wssx",
    "/v1/wss/job",
    "/v1/wss/job/",
    "/v1/wss/job/not-a-uuid",
    f"/v1/wss/job/{JOB}/",
    f"/v1/wss/job/{JOB}/status",
    f"/v1/wss/job/{JOB}%0A",
    f"/v1/wss/job/{JOB}\n",
    f"/v1/wss/job/../job/{JOB}",
    f"/v1/wss//job/{JOB}",
    f"/v1/wss/job/{JOB}{JOB}",
    f"/v1/wss/remove-noise/{JOB}",
    f"/v1/wss/remove-noise/{JOB}/status/x",
    f"/V1/WSS/job/{JOB}",
    f"/v1/wss/job/%30{JOB[1:]}",
)


def _event(address):
    """A viewer request as CloudFront hands it to a function: nothing is decoded."""
    path, _, query = address.partition("?")
    asked = {}
    for pair in filter(None, query.split("&")):
        name, _, value = pair.partition("=")
        if name in asked:
            first = asked[name].setdefault("multiValue", [{"value": asked[name]["value"]}])
            first.append({"value": value})
        else:
            asked[name] = {"value": value}
    return {"request": {"method": "GET", "uri": path, "querystring": asked, "headers": {}}}


def _sent(answer):
    """The query string that API Gateway reads, decoded, in no particular order."""
    pairs = [
        (unquote_plus(name), unquote_plus(one["value"]))
        for name, value in answer["querystring"].items()
        for one in value.get("multiValue", [value])
    ]
    return sorted(pairs)


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What the function answers to every address, from one run of Node."""
    events = [_event(address) for address in (*ADDRESSES, *BROKEN)]
    given = _run(SOURCE, events, folder=tmp_path_factory.mktemp("edge"))
    return dict(zip((*ADDRESSES, *BROKEN), given, strict=True))


def _run(source, events, *, folder):
    """What a function of the distribution's answers to events."""
    program = folder / "run.js"
    program.write_text(
        f"{source.read_text()}\n"
        f"const events = {json.dumps(events)};\n"
        "process.stdout.write(JSON.stringify(events.map(handler)));\n"
    )
    done = subprocess.run(
        [synth.registry_node(), program], capture_output=True, text=True, check=True, timeout=30
    )
    return json.loads(done.stdout)


# Names that are no text in any encoding: the function leaves them out.
BROKEN = (f"/v1/wss/job/{JOB}?%E0%A4%A=1&api_key=cs_1", f"/v1/wss/job/{JOB}?%=1&%zz=2&api_key=cs_1")


@pytest.mark.parametrize("address", ADDRESSES)
def test_the_function_says_what_the_local_edge_says(answers, address):
    split = address.partition("?")
    expected = query_of(split[0], split[2])
    answer = answers[address]
    if expected is None:
        assert answer["statusCode"] == 404
    else:
        assert answer["uri"] == "/live"
        assert _sent(answer) == sorted(parse_qsl(expected, keep_blank_values=True))


@pytest.mark.parametrize("address", BROKEN)
def test_a_name_that_is_no_text_is_left_out(answers, address):
    assert _sent(answers[address]) == sorted(
        [("api_key", "cs_1"), ("dialect", "pipeline"), ("job_id", JOB)]
    )


def test_the_viewers_host_goes_on_whatever_the_viewer_wrote_in_its_place(tmp_path):
    own = {"host": {"value": "sound.example.com"}, "accept": {"value": "*/*"}}
    forged = {"value": "evil.example", "multiValue": [{"value": "evil.example"}, {"value": "b"}]}
    sent = [own, {**own, HOST: forged}, {HOST: forged}]
    events = [{"request": {**_event("/jobs?limit=1")["request"], "headers": h}} for h in sent]
    answers = _run(HOST_SOURCE, events, folder=tmp_path)
    told = {**own, HOST: {"value": "sound.example.com"}}
    assert [answer["headers"] for answer in answers] == [told, told, {}]
    for answer, event in zip(answers, events, strict=True):
        assert {**answer, "headers": {}} == {**event["request"], "headers": {}}


def test_the_function_is_small_enough_and_of_the_runtime_it_is_written_for(template):
    function = only(of_type(template, "AWS::CloudFront::Function"))
    assert function["FunctionConfig"]["Runtime"] == "cloudfront-js-2.0"
    assert len(function["FunctionCode"].encode()) < 10_240  # CloudFront quotas: function size
    assert function["FunctionCode"] == SOURCE.read_text()
    assert function["AutoPublish"] is True


# How long a name may be of which an account has one, whatever the region; CloudFormation makes
# one up, with a random end, for the kinds of which none is given.
GLOBAL_NAMES = {
    "AWS::CloudFront::CachePolicy": 128,
    "AWS::CloudFront::Function": 64,
    "AWS::CloudFront::OriginAccessControl": 64,
    "AWS::CloudFront::OriginRequestPolicy": 128,
    "AWS::CloudFront::ResponseHeadersPolicy": 128,
}
UNNAMED = {
    "AWS::CloudWatch::Dashboard": "DashboardName",
    "AWS::IAM::InstanceProfile": "InstanceProfileName",
    "AWS::IAM::ManagedPolicy": "ManagedPolicyName",
    "AWS::IAM::Role": "RoleName",
    "AWS::S3::Bucket": "BucketName",
}


def _names(resource):
    """Every value called `Name` in a resource of CloudFront's, which are its own alone."""
    properties = resource["Properties"]
    inner = [value for value in properties.values() if isinstance(value, dict)]
    return [each["Name"] for each in (properties, *inner) if "Name" in each]


@pytest.mark.parametrize("region", ["us-east-1", "ap-southeast-1"])
def test_a_second_region_of_the_account_finds_no_name_taken(template, region):
    seen = []
    for resource in template["Resources"].values():
        if most := GLOBAL_NAMES.get(resource["Type"]):
            (name,) = _names(resource)
            text = "".join(
                region if part == {"Ref": "AWS::Region"} else part for part in name["Fn::Join"][1]
            )
            assert region in text and "clearstem" in text
            assert len(text) <= most
            seen.append(text)
        if unnamed := UNNAMED.get(resource["Type"]):
            assert unnamed not in resource["Properties"]
    assert len(seen) == len(set(seen)) == 4


def _distribution(template):
    return only(of_type(template, "AWS::CloudFront::Distribution"))["DistributionConfig"]


def test_each_path_has_its_origin(template):
    config = _distribution(template)
    origins = {origin["Id"]: json.dumps(origin) for origin in config["Origins"]}
    by_path = {b["PathPattern"]: origins[b["TargetOriginId"]] for b in config["CacheBehaviors"]}
    assert "LiveApi" in by_path["/v1/wss*"]
    assert all("EdgeConsole" in by_path[path] for path in ("/", "/index.html", "/console/*"))
    rest = origins[config["DefaultCacheBehavior"]["TargetOriginId"]]
    assert "RestApi" in rest and '"OriginPath"' in rest


def test_nothing_is_answered_without_tls_and_no_origin_is_asked_without(template):
    config = _distribution(template)
    for behavior in (config["DefaultCacheBehavior"], *config["CacheBehaviors"]):
        assert behavior["ViewerProtocolPolicy"] in ("https-only", "redirect-to-https")
    for origin in config["Origins"]:
        if "CustomOriginConfig" in origin:
            assert origin["CustomOriginConfig"]["OriginProtocolPolicy"] == "https-only"
            assert origin["CustomOriginConfig"]["OriginSSLProtocols"] == ["TLSv1.2"]


def test_no_answer_of_the_apis_is_kept_for_another_caller(template):
    config = _distribution(template)
    apis = [config["DefaultCacheBehavior"]]
    apis += [b for b in config["CacheBehaviors"] if b["PathPattern"] == "/v1/wss*"]
    # AWS's managed policies CachingDisabled and AllViewerExceptHostHeader.
    assert {b["CachePolicyId"] for b in apis} == {"4135ea2d-6df8-44a3-9df3-4b5a84be39ad"}
    assert {b["OriginRequestPolicyId"] for b in apis} == {"b689b0a8-53d0-40ab-baf2-68738e2966ac"}


def test_only_the_distribution_reads_the_console(template):
    policies = of_type(template, "AWS::S3::BucketPolicy")
    console = only({k: v for k, v in policies.items() if k.startswith("EdgeConsole")})
    allowed = [s for s in console["PolicyDocument"]["Statement"] if s["Effect"] == "Allow"]
    assert [s["Principal"] for s in allowed] == [{"Service": "cloudfront.amazonaws.com"}]
    assert allowed[0]["Action"] == "s3:GetObject"
    assert "AWS:SourceArn" in allowed[0]["Condition"]["StringEquals"]


def _policy_text(headers, region="eu-west-1", suffix="amazonaws.com"):
    """The console's policy as a deployment in a region has it, buckets under their logical ids."""
    names = {"AWS::Region": region, "AWS::URLSuffix": suffix}
    separator, parts = headers["ContentSecurityPolicy"]["ContentSecurityPolicy"]["Fn::Join"]
    return separator.join(
        part if isinstance(part, str) else names.get(part["Ref"], part["Ref"]) for part in parts
    )


def _page_headers(template):
    policies = of_type(template, "AWS::CloudFront::ResponseHeadersPolicy")
    page = only({name: policy for name, policy in policies.items() if "Page" in name})
    return page["ResponseHeadersPolicyConfig"]["SecurityHeadersConfig"]


def test_pages_carry_headers_that_browsers_protect_them_by(template):
    for policy in of_type(template, "AWS::CloudFront::ResponseHeadersPolicy").values():
        headers = policy["ResponseHeadersPolicyConfig"]["SecurityHeadersConfig"]
        assert headers["StrictTransportSecurity"]["AccessControlMaxAgeSec"] == 2 * 365 * 24 * 3600
        assert headers["FrameOptions"]["FrameOption"] == "DENY"
        # The API's own headers stand: those are for what comes without.
        assert headers["ContentTypeOptions"] == {"Override": False}
    content = _policy_text(_page_headers(template))
    assert "default-src 'none'" in content and "frame-ancestors 'none'" in content
    assert "*" not in content and "unsafe" not in content


def _allowed(policy, kind, url):
    """Whether a policy lets a page reach an address: CSP 3, 6.7.2.8, for hosts and their paths."""
    (rule,) = (part for part in policy.split("; ") if part.startswith(kind))
    address = urlsplit(url)
    for source in rule.split()[1:]:
        allowed = urlsplit(source)
        if (allowed.scheme, allowed.netloc) == (address.scheme, address.netloc):
            path = allowed.path
            if address.path == path or (path.endswith("/") and address.path.startswith(path)):
                return True
    return False


@pytest.mark.parametrize(
    ("region", "suffix"),
    [("eu-west-1", "amazonaws.com"), ("us-east-1", "amazonaws.com"), ("cn-north-1", CHINA)],
)
def test_the_console_reaches_the_links_that_it_is_given_and_no_other_bucket(
    template, region, suffix
):
    policy = _policy_text(_page_headers(template), region, suffix)
    session = boto3.Session("AKIA", "secret", region_name=region)
    client = session.client("s3", config=CLIENT_CONFIG)
    buckets = {
        name: next(id for id in of_type(template, "AWS::S3::Bucket") if id.startswith(name))
        for name in ("StorageUploads", "StorageTracks", "StorageDrop", "StorageWork")
    }

    def link(bucket, operation):
        return client.generate_presigned_url(operation, Params={"Bucket": bucket, "Key": "a/b.wav"})

    assert _allowed(policy, "connect-src", link(buckets["StorageUploads"], "put_object"))
    for name in ("StorageTracks", "StorageDrop"):
        for kind in ("connect-src", "media-src"):
            assert _allowed(policy, kind, link(buckets[name], "get_object"))
    for other in (buckets["StorageWork"], "somebody-elses", buckets["StorageUploads"] + "x"):
        assert not _allowed(policy, "connect-src", link(other, "put_object"))


def test_the_console_may_open_a_socket_to_its_own_host(template):
    """'self' allows wss: where the page came by https: (CSP 3, 6.7.2.8)."""
    policy = _policy_text(_page_headers(template))
    (rule,) = (part for part in policy.split("; ") if part.startswith("connect-src"))
    assert "'self'" in rule.split()
    page = (synth.ROOT / "functions" / "console" / "index.html").read_text()
    assert "new URL(`v1/wss/job/${id}`, location.href)" in page
