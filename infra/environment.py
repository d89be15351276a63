"""What functions and stages are told: the variables that `clearstem.settings` reads."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from clearstem.recipes import DENOISE, SEPARATE
from infra.options import Gpu, Options
from infra.parameters import Parameters
from infra.storage import Storage
from infra.webhooks import WebhookQueues

_MAX_UPLOAD_BYTES: Final = 500 * 1024 * 1024
# What the Munsit dialect's documents say.
_VOICE_MAX_UPLOAD_BYTES: Final = 200 * 1024 * 1024
_VOICE_MAX_DURATION_S: Final = 900
# The largest upload at 4.5 Mbit/s; what sends nothing for half a minute is gone.
_URL_TOTAL_S: Final = 900
_URL_IDLE_S: Final = 30

# A page of the console asks for some things at once.
_KEYLESS_BURST_S: Final = 4

# Where the stage images' files put weights.
_BAKED_MODELS: Final = "/opt/models"


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Makes the variables of one deployment's functions and stages.

    Attributes
    ----------
    proof_arn : str
        What the distribution proves itself by; empty: it does not.
    """

    storage: Storage
    parameters: Parameters
    options: Options
    proof_arn: str

    def of_stages(self) -> dict[str, str]:
        """What stages are told: their images hold weights, which functions do not see."""
        models = self.parameters.or_else("ModelsDir", _BAKED_MODELS, condition="OwnModelsDir")
        return {**self._shared(), "CLEARSTEM_MODELS_DIR": models}

    def of_gpu_stages(self) -> dict[str, str]:
        """What stages are told besides where a GPU is paid for: to fail rather than do without."""
        if self.options.gpu is Gpu.NONE:
            return {}
        return {"CLEARSTEM_SEPARATOR_DEVICE": self.parameters.separator_device()}

    def of_functions(
        self, *, machine_arns: Mapping[str, str], push_url: str, webhooks: WebhookQueues
    ) -> dict[str, str]:
        """What functions are told besides: stages start nothing and push nothing.

        Parameters
        ----------
        machine_arns : mapping of str to str
            The state machines by their recipe.
        push_url : str
            The WebSocket API's own management endpoint.
        """
        given = self.parameters
        return {
            **self._shared(),
            "CLEARSTEM_SEPARATE_STATE_MACHINE_ARN": machine_arns[SEPARATE.name],
            "CLEARSTEM_DENOISE_STATE_MACHINE_ARN": machine_arns[DENOISE.name],
            "CLEARSTEM_WEBSOCKET_URL": given.or_else(
                "WebSocketManagementUrl", push_url, condition="OwnManagementUrl"
            ),
            "CLEARSTEM_KEYLESS_OWNER": given["KeylessOwner"],
            **self._limits(),
            # API Gateway ends a stream after 15 minutes, in the middle of an event or not.
            "CLEARSTEM_EVENT_STREAM_S": "840",
            "CLEARSTEM_CORS_ORIGINS": self.options.cors_origins,
            "CLEARSTEM_OIDC_ISSUER": given["OidcIssuer"],
            "CLEARSTEM_OIDC_AUDIENCE": given["OidcAudience"],
            "CLEARSTEM_OIDC_JWKS_URL": given["OidcJwksUrl"],
            "CLEARSTEM_WEBHOOK_QUEUE_URL": webhooks.orders.queue_url,
            "CLEARSTEM_WEBHOOK_DEAD_LETTERS_URL": webhooks.given_up.queue_url,
            # API Gateway ends bodies at 6 MB: tracks go by a redirect to storage.
            "CLEARSTEM_STREAM_DOWNLOADS": "",
        }

    def _limits(self) -> dict[str, str]:
        options, given = self.options, self.parameters
        keyless = options.keyless_calls_per_s
        return {
            "CLEARSTEM_RATE_PER_S": given["RatePerS"],
            "CLEARSTEM_RATE_BURST": given["RateBurst"],
            "CLEARSTEM_EDGE_SECRET_ARN": self.proof_arn,
            "CLEARSTEM_KEYLESS_RATE_PER_S": str(keyless),
            "CLEARSTEM_KEYLESS_RATE_BURST": str(_KEYLESS_BURST_S * keyless),
            "CLEARSTEM_QUOTA_UNFINISHED_JOBS": str(options.unfinished_jobs),
            "CLEARSTEM_QUOTA_MINUTES_PER_MONTH": str(options.minutes_per_month),
            "CLEARSTEM_QUOTA_STORED_BYTES": str(options.stored_gb * 10**9),
        }

    def _shared(self) -> dict[str, str]:
        storage, given, options = self.storage, self.parameters, self.options
        return {
            "CLEARSTEM_TABLE": storage.table.table_name,
            "CLEARSTEM_UPLOADS_BUCKET": storage.uploads.bucket_name,
            "CLEARSTEM_WORK_BUCKET": storage.work.bucket_name,
            "CLEARSTEM_TRACKS_BUCKET": storage.tracks.bucket_name,
            "CLEARSTEM_DROP_BUCKET": storage.drop.bucket_name,
            "CLEARSTEM_SEPARATOR_MODEL": given.baked("SeparatorModel", options.separators),
            "CLEARSTEM_DENOISER_MODEL": given.baked("DenoiserModel", options.denoisers),
            "CLEARSTEM_SEPARATOR_PRECISION": options.precision.value,
            "CLEARSTEM_MODELS_DIR": given["ModelsDir"],
            "CLEARSTEM_MAX_UPLOAD_BYTES": str(_MAX_UPLOAD_BYTES),
            "CLEARSTEM_VOICE_MAX_UPLOAD_BYTES": str(_VOICE_MAX_UPLOAD_BYTES),
            "CLEARSTEM_VOICE_MAX_DURATION_S": str(_VOICE_MAX_DURATION_S),
            "CLEARSTEM_URL_TOTAL_S": str(_URL_TOTAL_S),
            "CLEARSTEM_URL_IDLE_S": str(_URL_IDLE_S),
            "POWERTOOLS_SERVICE_NAME": "clearstem-stage",
            "POWERTOOLS_METRICS_NAMESPACE": "clearstem",
            "LOG_LEVEL": "INFO",
        }
