"""What an operator may decide about GPU machines, on the queues alone."""

import pytest

from infra import synth
from infra.options import Gpu, Options
from tests.infra.reading import of_type, only


@pytest.fixture(scope="module")
def queues():
    """Makes a template of the queues with given options.

    Imported late: aws_cdk starts Node, and it is to be the registry's.
    """
    patch = pytest.MonkeyPatch()
    patch.setenv("JSII_NODE", str(synth.registry_node()))
    import aws_cdk as cdk

    from infra.compute import Network, Queues

    def template(**options):
        app = cdk.App(analytics_reporting=False)
        stack = cdk.Stack(app, "Alone")
        Queues(stack, "Queues", network=Network(stack, "Network"), options=Options(**options))
        return app.synth().get_stack_by_name("Alone").template

    yield template
    patch.undo()


def _machines(template):
    """The GPU machines by their purchase, in the order in which they are asked."""
    found = of_type(template, "AWS::Batch::ComputeEnvironment")
    queue = only(
        {name: q for name, q in of_type(template, "AWS::Batch::JobQueue").items() if "Gpu" in name}
    )
    order = sorted(queue["ComputeEnvironmentOrder"], key=lambda entry: entry["Order"])
    names = [entry["ComputeEnvironment"]["Fn::GetAtt"][0] for entry in order]
    return [found[name]["ComputeResources"] for name in names]


def test_machines_kept_warm_are_of_the_purchase_that_is_asked_first(queues):
    spot, on_demand = _machines(queues(gpu=Gpu.SPOT, warm_gpus=2))
    assert (spot["Type"], spot["MinvCpus"]) == ("SPOT", 8)
    assert (on_demand["Type"], on_demand["MinvCpus"]) == ("EC2", 0)


def test_on_demand_asks_no_spot_machine(queues):
    (machines,) = _machines(queues(gpu=Gpu.ON_DEMAND, warm_gpus=1))
    assert (machines["Type"], machines["MinvCpus"]) == ("EC2", 4)
    assert machines["AllocationStrategy"] == "BEST_FIT_PROGRESSIVE"


def test_machines_are_of_the_types_that_the_operators_region_has(queues):
    for machines in _machines(queues(gpu_machines="g6e.xlarge  g4dn.xlarge")):
        assert machines["InstanceTypes"] == ["g6e.xlarge", "g4dn.xlarge"]


def test_queues_grow_as_far_as_the_operator_says(queues):
    found = of_type(queues(gpu_vcpus=800, cpu_vcpus=32), "AWS::Batch::ComputeEnvironment")
    most = {name: environment["ComputeResources"] for name, environment in found.items()}
    assert {resources["Type"]: resources["MaxvCpus"] for resources in most.values()} == {
        "SPOT": 800,
        "EC2": 800,
        "FARGATE": 32,
    }


def test_an_idle_machine_waits_as_long_as_it_was_told(queues):
    for machines in _machines(queues(gpu=Gpu.SPOT, gpu_idle_minutes=30)):
        assert machines["ScalingPolicy"] == {"MinScaleDownDelayMinutes": 30}
    assert all("ScalingPolicy" not in machines for machines in _machines(queues()))
