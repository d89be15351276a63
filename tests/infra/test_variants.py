"""A template with every option turned, synthesized once; and that it deploys too."""

import json
import random

import pytest

from clearstem.edge_proof import HEADER
from infra import checks, synth
from infra.attempts import CPU_SEPARATION_S
from infra.local.deploy import DeploymentError, Target, deploy, stack_outputs
from infra.local.emulator import Emulator
from tests.infra.reading import actions, as_list, definition, functions, of_type, only

CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/0b9d1c9e-5f43-4c8e-9f3a-2f8f3a6f0c11"
ASSETS = {"functions": ["clearstem", "functions"]}
WEB_ACL = "arn:aws:wafv2:us-east-1:123456789012:global/webacl/mine/0b9d1c9e"


# As an operator keeps them; one is told otherwise on the command line.
DECIDED = {
    "gpu": "none",
    "fused": True,
    "encryption": "kms",
    "production": True,
    "domain_name": "sound.example.com",
    "certificate_arn": CERTIFICATE,
    "web_acl_arn": WEB_ACL,
    "alarm_email": "ops@example.com",
    "cors_origins": "https://a.example,https://b.example",
    "keyless_calls_per_s": 5,
    "stage_concurrency": 40,
    "stream_concurrency": 20,
    "models": "dtln htdemucs_ft htdemucs",
}


@pytest.fixture(scope="module")
def turned(tmp_path_factory):
    """No GPU, fused stages, an own key, domain and web ACL, weights, not for production."""
    decided = tmp_path_factory.mktemp("decided") / "deployment.json"
    decided.write_text(json.dumps(DECIDED))
    return synth.synthesize(options={"production": "false"}, decided=decided).template


def test_without_gpus_separation_asks_the_cpu_queue_for_a_bigger_task(turned):
    assert not of_type(turned, "AWS::EC2::LaunchTemplate")
    queue = only(of_type(turned, "AWS::Batch::JobQueue"))
    assert len(queue["ComputeEnvironmentOrder"]) == 1
    state = definition(turned)["States"]["audio_separation"]
    assert state["Parameters"]["ContainerOverrides"]["ResourceRequirements"] == [
        {"Type": "VCPU", "Value": "4"},
        {"Type": "MEMORY", "Value": "16384"},
    ]
    # Hours of music are hours of work there.
    given = state["Parameters"]["Timeout"]["AttemptDurationSeconds"]
    assert given == CPU_SEPARATION_S < state["TimeoutSeconds"]


def test_fused_stages_are_one_task(turned):
    tasks = [
        name
        for name, state in definition(turned, "denoise")["States"].items()
        if "batch" in state.get("Resource", "")
    ]
    assert tasks == ["extraction_to_encoding"]


def test_all_that_is_stored_is_under_the_own_key(turned):
    (key,) = of_type(turned, "AWS::KMS::Key")
    assert only(of_type(turned, "AWS::KMS::Key"))["EnableKeyRotation"] is True
    arn = {"Fn::GetAtt": [key, "Arn"]}
    for name, bucket in of_type(turned, "AWS::S3::Bucket").items():
        (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        if name.startswith(("StorageAccessLog", "EdgeConsole")):
            continue  # S3 delivers logs to its own encryption only; the console is public
        assert rule["ServerSideEncryptionByDefault"] == {
            "SSEAlgorithm": "aws:kms",
            "KMSMasterKeyID": arn,
        }
        assert rule["BucketKeyEnabled"] is True
    table = only(of_type(turned, "AWS::DynamoDB::Table"))
    assert table["SSESpecification"]["KMSMasterKeyId"] == arn
    for queue in of_type(turned, "AWS::SQS::Queue").values():
        assert queue["KmsMasterKeyId"] == arn
    assert only(of_type(turned, "AWS::SNS::Topic"))["KmsMasterKeyId"] == arn


def test_where_pages_of_several_origins_may_call_the_distribution_lets_them_read(turned):
    policies = of_type(turned, "AWS::CloudFront::ResponseHeadersPolicy")
    cors = {
        name: policy["ResponseHeadersPolicyConfig"].get("CorsConfig")
        for name, policy in policies.items()
    }
    (api,) = [found for name, found in cors.items() if "ApiHeaders" in name]
    assert api["AccessControlAllowOrigins"]["Items"] == ["https://a.example", "https://b.example"]
    assert (api["AccessControlAllowCredentials"], api["OriginOverride"]) == (False, False)
    assert "Retry-After" in api["AccessControlExposeHeaders"]["Items"]
    assert [found for name, found in cors.items() if "ApiHeaders" not in name] == [None]
    for each in of_type(turned, "AWS::ApiGateway::GatewayResponse").values():
        assert not any("Allow-Origin" in name for name in each["ResponseParameters"])


def test_who_queues_under_the_own_key_may_use_it(turned):
    senders = ("RestHandler", "SweepHandler", "ChangesHandler", "WebhookHandler")
    for role in senders:
        assert any(action == "SendMessage" for action, _ in actions(turned, role, service="sqs"))
        used = {action for action, _ in actions(turned, role, service="kms")}
        assert {"Decrypt", "GenerateDataKey*"} <= used, role


def test_alarms_and_lost_events_may_be_encrypted_with_the_own_key(turned):
    """Without a condition on who is behind them: EventBridge tells KMS nothing of that."""
    policy = only(of_type(turned, "AWS::KMS::Key"))["KeyPolicy"]["Statement"]
    for service in ("cloudwatch.amazonaws.com", "events.amazonaws.com"):
        allowed = {
            action
            for statement in policy
            if service in as_list(statement["Principal"].get("Service", []))
            and "Condition" not in statement
            for action in statement["Action"]
        }
        assert {"kms:Decrypt", "kms:GenerateDataKey*"} <= allowed, service


def test_the_distribution_takes_the_operators_name_certificate_and_web_acl(turned):
    config = only(of_type(turned, "AWS::CloudFront::Distribution"))["DistributionConfig"]
    assert config["Aliases"] == ["sound.example.com"]
    assert config["WebACLId"] == WEB_ACL
    certificate = config["ViewerCertificate"]
    assert certificate["AcmCertificateArn"] == CERTIFICATE
    assert certificate["MinimumProtocolVersion"] == "TLSv1.2_2021"


def _reserved(template):
    """The slots kept for functions, by the beginning of their names."""
    return {
        name.partition("Function")[0].partition("Handler")[0]: function[key]
        for name, function in of_type(template, "AWS::Lambda::Function").items()
        if (key := "ReservedConcurrentExecutions") in function
    }


def test_stages_and_streams_leave_the_other_functions_their_slots(turned, template):
    assert _reserved(turned) == {"Stages": 40, "Stream": 20}
    # An account whose quota is 10 has none to keep for anything.
    assert _reserved(template) == {}


def test_the_command_line_is_asked_before_the_file(turned):
    assert only(of_type(turned, "AWS::DynamoDB::Table"))["DeletionProtectionEnabled"] is False


def _told(template):
    return functions(template)["rest"]["Environment"]["Variables"]


def test_the_first_model_of_its_kind_in_the_images_is_used_without_being_named_again(turned):
    assert _told(turned)["CLEARSTEM_SEPARATOR_MODEL"] == {
        "Fn::If": ["NoSeparatorModel", "htdemucs_ft", {"Ref": "SeparatorModel"}]
    }
    assert _told(turned)["CLEARSTEM_DENOISER_MODEL"] == {
        "Fn::If": ["NoDenoiserModel", "dtln", {"Ref": "DenoiserModel"}]
    }
    for name in ("SeparatorModel", "DenoiserModel"):
        assert turned["Conditions"][f"No{name}"] == {"Fn::Equals": [{"Ref": name}, ""]}
        assert turned["Parameters"][name]["Default"] == ""


def test_a_deployment_that_names_a_model_its_images_lack_is_refused(
    turned, template, emulator: Emulator
):
    """A parameter is kept from deployment to deployment; images are built anew with each."""
    target = Target(emulator.url, str(random.randrange(10**11, 10**12)))
    for lacking, named in (
        (template, {"SeparatorModel": "htdemucs"}),
        (turned, {"DenoiserModel": "gtcrn"}),
    ):
        with pytest.raises(DeploymentError, match="the option models"):
            deploy(lacking, assets=ASSETS, parameters=named, target=target)
    assert stack_outputs(target) == {}
    # The twin's models are in a folder of its own, whatever they are called.
    for rule in turned["Rules"].values():
        assert rule["RuleCondition"] == {"Fn::Equals": [{"Ref": "ModelsDir"}, ""]}


def test_alarms_reach_the_operators_address(turned):
    told = only(of_type(turned, "AWS::SNS::Subscription"))
    assert (told["Protocol"], told["Endpoint"]) == ("email", "ops@example.com")


def test_pages_of_the_given_origins_and_the_console_may_use_storage(turned):
    for bucket in of_type(turned, "AWS::S3::Bucket").values():
        for rule in bucket.get("CorsConfiguration", {}).get("CorsRules", ()):
            assert rule["AllowedOrigins"] == [
                "https://a.example",
                "https://b.example",
                "https://sound.example.com",
            ]


def test_the_linters_find_nothing_in_it_either(turned):
    assert checks.template_problems(turned) == []
    assert checks.state_machine_problems(turned) == []


def test_it_deploys_and_the_distribution_sends_the_secret_itself(turned, emulator: Emulator):
    target = Target(emulator.url, str(random.randrange(10**11, 10**12)))
    # Another of those in the images may be named.
    named = {"SeparatorModel": "htdemucs"}
    outputs = deploy(turned, assets=ASSETS, parameters=named, target=target)
    assert set(outputs) == set(turned["Outputs"])
    manager, edge = target.client("secretsmanager"), target.client("cloudfront")
    (secret,) = manager.list_secrets()["SecretList"]
    made = manager.get_secret_value(SecretId=secret["ARN"])["SecretString"]
    (distribution,) = edge.list_distributions()["DistributionList"]["Items"]
    sent = [
        header["HeaderValue"]
        for origin in distribution["Origins"]["Items"]
        for header in origin.get("CustomHeaders", {}).get("Items", ())
    ]
    assert sent == [made] and len(made) == 48


def _rest_origin(distribution):
    (origin,) = (o for o in distribution["Origins"] if "OriginCustomHeaders" in o)
    return origin


def test_the_distribution_proves_itself_by_a_secret_that_the_template_does_not_hold(turned):
    (secret,) = of_type(turned, "AWS::SecretsManager::Secret")
    config = only(of_type(turned, "AWS::CloudFront::Distribution"))["DistributionConfig"]
    origin = _rest_origin(config)
    assert origin["Id"] == config["DefaultCacheBehavior"]["TargetOriginId"]
    (header,) = origin["OriginCustomHeaders"]
    assert header["HeaderName"] == HEADER
    assert header["HeaderValue"] == {
        "Fn::Join": ["", ["{{resolve:secretsmanager:", {"Ref": secret}, ":SecretString:::}}"]]
    }
    made = only(of_type(turned, "AWS::SecretsManager::Secret"))
    assert "SecretString" not in made and made["GenerateSecretString"]["PasswordLength"] == 48


def test_the_distribution_tells_the_host_that_it_was_asked_for(turned):
    config = only(of_type(turned, "AWS::CloudFront::Distribution"))["DistributionConfig"]
    rest = config["DefaultCacheBehavior"]
    (attached,) = rest["FunctionAssociations"]
    assert attached["EventType"] == "viewer-request"
    (name, _) = attached["FunctionARN"]["Fn::GetAtt"]
    function = of_type(turned, "AWS::CloudFront::Function")[name]
    assert function["FunctionConfig"]["Runtime"] == "cloudfront-js-2.0"
    assert function["FunctionCode"] == (synth.ROOT / "infra" / "host_function.js").read_text()
    assert function["AutoPublish"] is True
    # AllViewerExceptHostHeader: what the function writes is a viewer's header like any other.
    assert rest["OriginRequestPolicyId"] == "b689b0a8-53d0-40ab-baf2-68738e2966ac"
    assert '"x-clearstem-host"' in function["FunctionCode"]


def test_who_counts_keyless_callers_may_read_the_secret_and_is_told_its_name_alone(turned):
    (secret,) = of_type(turned, "AWS::SecretsManager::Secret")
    readers = {
        role.partition("Handler")[0]
        for role in of_type(turned, "AWS::IAM::Role")
        if ("GetSecretValue", json.dumps({"Ref": secret}))
        in actions(turned, role, service="secretsmanager")
    }
    assert readers == {"Rest", "Stream"}
    for function in of_type(turned, "AWS::Lambda::Function").values():
        told = function.get("Environment", {}).get("Variables", {})
        assert "resolve:secretsmanager" not in json.dumps(told)
    rest = functions(turned)["rest"]["Environment"]["Variables"]
    assert rest["CLEARSTEM_EDGE_SECRET_ARN"] == {"Ref": secret}


def test_where_nobody_is_counted_by_his_address_there_is_no_secret_to_pay_for(template):
    assert not of_type(template, "AWS::SecretsManager::Secret")
    config = only(of_type(template, "AWS::CloudFront::Distribution"))["DistributionConfig"]
    assert "FunctionAssociations" not in config["DefaultCacheBehavior"]
    assert (
        functions(template)["rest"]["Environment"]["Variables"]["CLEARSTEM_EDGE_SECRET_ARN"] == ""
    )
