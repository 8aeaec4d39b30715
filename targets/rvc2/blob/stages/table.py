"""The stage types of a blob, and the functions that execute them.

Numbers and names: `vpu/model/stage.hpp` of OpenVINO 2022.2 (Apache-2.0).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from targets.rvc2.blob.running import Running
from targets.rvc2.blob.stages import (
    activation,
    convolution,
    detection,
    elementwise,
    gather,
    hardware,
    normalization,
    pooling,
    recurrent,
    reduce,
    resize,
    shape,
)
from targets.rvc2.blob.words import NotKnown


@dataclass(frozen=True)
class Rule:
    """How a type of stage is executed.

    Attributes:
        function: Reads, computes, writes.
        in_place: Whether it goes element by element, so that it may write over what it reads.
    """

    name: str
    function: Callable[[Running], None]
    in_place: bool = False

    def __call__(self, running: Running) -> None:
        """Execute a stage of this type."""
        self.function(running)


def _families() -> Mapping[int, Rule]:
    rules: dict[int, Rule] = {}
    for module in (
        activation,
        convolution,
        detection,
        elementwise,
        gather,
        hardware,
        normalization,
        pooling,
        recurrent,
        reduce,
        resize,
        shape,
    ):
        in_place = module in (activation, elementwise)
        for number, (name, function) in module.STAGES.items():
            rules[number] = Rule(name, function, in_place)
    return rules


RULES: Final = _families()
# Types that have a name but no rule: what they compute is not in the public sources, their shapes are
# computed on the camera, or no blob held one.
UNKNOWN: Final = {
    5: "None",
    18: "InnerLRN",
    29: "RegionYolo",
    30: "ReorgYolo",
    37: "DetectionOutput",
    43: "CTCDecoder",
    56: "HwFcRelayout",
    58: "RefConvolution",
    61: "GRN",
    64: "Proposal",
    65: "ROIPooling",
    66: "PSROIPooling",
    69: "MTCNN",
    94: "ReverseSequence",
    106: "ExpDetectionOutput",
    108: "ROIFeatureExtractor",
    115: "Custom",
    116: "ConvND",
    118: "PoolND",
    119: "LoopStart",
    120: "LoopEnd",
    121: "ExpPriorGridGenerator",
    122: "NonZero",
    124: "ExpGenerateProposals",
    125: "ExpTopKROIs",
    127: "OutShapeOfReshape",
    128: "Concat",
    129: "Broadcast",
    130: "StaticShapeNMS",
    141: "CTCGreedyDecoderSeqLen",
}


def name_of(number: int) -> str:
    """What a type is called."""
    if number in RULES:
        return RULES[number].name
    return UNKNOWN.get(number, f"type {number}")


def rule_of(number: int) -> Rule:
    """How a type is executed; an unknown type's rule says so."""
    return RULES.get(number) or Rule(name_of(number), _not_known)


def _not_known(running: Running) -> None:
    raise NotKnown(f"what a stage {name_of(running.stage.type)} computes is not known")
