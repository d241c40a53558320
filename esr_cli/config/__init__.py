"""Typed settings. `gate.read` is the only path from yaml to the program. Imports no torch."""

from esr_cli.config.alarms import AlarmsConfig
from esr_cli.config.bench import BenchConfig
from esr_cli.config.benchmark import BenchmarkConfig, HubConfig
from esr_cli.config.env import EnvConfig
from esr_cli.config.errors import ConfigError
from esr_cli.config.evaluate import CompareConfig, EvalConfig
from esr_cli.config.execution import ExecutionConfig
from esr_cli.config.lab import LabConfig
from esr_cli.config.lengths import LengthsConfig
from esr_cli.config.loss import LossConfig
from esr_cli.config.pair import ModelConfig, PairConfig, teacher_key
from esr_cli.config.probe import ProbeCommandConfig, ProbeConfig
from esr_cli.config.push import PushConfig
from esr_cli.config.report import ReportConfig
from esr_cli.config.reproduce import CellConfig, ItemConfig, MatrixConfig, ReproduceConfig
from esr_cli.config.rollout import RolloutConfig
from esr_cli.config.serve import TeacherServeConfig
from esr_cli.config.task import TaskConfig
from esr_cli.config.teacher import TeacherEngineConfig
from esr_cli.config.tracking import TrackingConfig
from esr_cli.config.train import TrainConfig
from esr_cli.config.tune import TuneConfig
from esr_cli.config.watch import WatchConfig

__all__ = [
    "AlarmsConfig",
    "BenchConfig",
    "BenchmarkConfig",
    "CellConfig",
    "CompareConfig",
    "ConfigError",
    "EnvConfig",
    "EvalConfig",
    "ExecutionConfig",
    "HubConfig",
    "ItemConfig",
    "LabConfig",
    "LengthsConfig",
    "LossConfig",
    "MatrixConfig",
    "ModelConfig",
    "PairConfig",
    "ProbeCommandConfig",
    "ProbeConfig",
    "PushConfig",
    "ReportConfig",
    "ReproduceConfig",
    "RolloutConfig",
    "TaskConfig",
    "TeacherEngineConfig",
    "TeacherServeConfig",
    "TrackingConfig",
    "TrainConfig",
    "TuneConfig",
    "WatchConfig",
    "teacher_key",
]
