"""Networks: plain torch modules, each taking one frozen config dataclass."""

from vjepa.models.ac_predictor import ACPredictor, ACPredictorConfig, encode_frames
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.models.goal_policy import GoalPolicy, GoalPolicyConfig
from vjepa.models.predictor import Predictor, PredictorConfig
from vjepa.models.probe import AttentiveProbe, ProbeConfig

__all__ = [
    "ACPredictor",
    "ACPredictorConfig",
    "AttentiveProbe",
    "Encoder",
    "EncoderConfig",
    "GoalPolicy",
    "GoalPolicyConfig",
    "Predictor",
    "PredictorConfig",
    "ProbeConfig",
    "encode_frames",
]
