"""What an operator may change without synthesizing anew: the template's parameters.

All of them have a default, so that a deployment names only what differs.
"""

from collections.abc import Sequence
from typing import Final

import aws_cdk as cdk

_TEXTS: Final = {
    "KeylessOwner": "Who calls without a key; empty: a key is always needed.",
    "OidcIssuer": "Whose bearer tokens are taken; empty: nobody's.",
    "OidcAudience": "For whom those tokens must be.",
    "OidcJwksUrl": "Where the issuer publishes its keys, by https.",
    "SeparatorModel": "Which separator of the stage images; empty: the first baked into them.",
    "DenoiserModel": "Which denoiser of the stage images; empty: the first baked into them.",
    "ModelsDir": "Folder searched for weights; empty: that of the stage images.",
    "StageFunctions": "Whether short stages run as functions; off: all run in Batch.",
    "WebSocketManagementUrl": "Where pushes are posted; empty: the API's own address.",
}
# What CloudFormation says as it refuses.
_NOT_BAKED: Final = (
    "The stage images have no model of that name: name it in the option models, or give an "
    "empty {name}, by which the first model of the images is used."
)


class Parameters:
    """The parameters of a stack, under their own names.

    A construct of its own would put its name before theirs.
    """

    def __init__(self, stack: cdk.Stack) -> None:
        self._stack = stack
        self._made = {name: _parameter(stack, name, text) for name, text in _TEXTS.items()}
        per_s = "Requests per second of an owner in the long run; 0: no limit."
        self._made["RatePerS"] = _parameter(stack, "RatePerS", per_s, "20")
        burst = "Requests of an owner at once."
        self._made["RateBurst"] = _parameter(stack, "RateBurst", burst, "200")
        self._functions_off = cdk.CfnCondition(
            stack,
            "StageFunctionsOff",
            expression=cdk.Fn.condition_equals(self["StageFunctions"], "off"),
        )
        self._empty: dict[str, cdk.CfnCondition] = {}

    def __getitem__(self, name: str) -> str:
        """The value that a deployment gives; `KeyError` where there is no such parameter."""
        return self._made[name].value_as_string

    def separator_device(self) -> str:
        """What GPU tasks separate on: a parameter that only deployments with GPUs have."""
        name = "SeparatorDevice"
        text = "What separation in GPU tasks runs on: cuda or nowhere; auto: else their CPUs."
        self._made[name] = _parameter(self._stack, name, text, "cuda")
        return self[name]

    def unless_functions_off(self, limit: int) -> str:
        """A number, or 0 where no stage is to run as a function."""
        return cdk.Token.as_string(cdk.Fn.condition_if(self._functions_off.logical_id, 0, limit))

    def or_else(self, name: str, otherwise: str, *, condition: str) -> str:
        """What a parameter says, or something else where it is empty.

        Parameters
        ----------
        otherwise : str
            What counts where it is empty.
        condition : str
            The name in the template of its being empty.
        """
        if name not in self._empty:
            self._empty[name] = cdk.CfnCondition(
                self._stack, condition, expression=cdk.Fn.condition_equals(self[name], "")
            )
        empty = self._empty[name].logical_id
        return cdk.Token.as_string(cdk.Fn.condition_if(empty, otherwise, self[name]))

    def baked(self, name: str, models: Sequence[str]) -> str:
        """Which of the stage images' models is used: the first, or the one a parameter names.

        CloudFormation keeps a parameter from deployment to deployment, images are built anew
        with each. A deployment whose images lack what the parameter names is refused, before
        anything changes; unless ``ModelsDir`` says that models are somewhere else.

        Parameters
        ----------
        name : str
            The parameter.
        models : sequence of str
            Those of its kind that are baked in.
        """
        rule = f"{name}IsBaked"
        if self._stack.node.try_find_child(rule) is None:
            any_of = [cdk.Fn.condition_equals(self[name], each) for each in ("", *models)]
            cdk.CfnRule(
                self._stack,
                rule,
                rule_condition=cdk.Fn.condition_equals(self["ModelsDir"], ""),
                assertions=[
                    cdk.CfnRuleAssertion(
                        assert_=any_of[0] if len(any_of) == 1 else cdk.Fn.condition_or(*any_of),
                        assert_description=_NOT_BAKED.format(name=name),
                    )
                ],
            )
        return self.or_else(name, models[0], condition=f"No{name}") if models else self[name]


def _parameter(
    stack: cdk.Stack, name: str, description: str, default: str = ""
) -> cdk.CfnParameter:
    return cdk.CfnParameter(stack, name, type="String", default=default, description=description)
