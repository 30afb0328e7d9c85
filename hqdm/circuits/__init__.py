"""Circuits: PennyLane quantum functions with their weight shapes."""

from hqdm.circuits.ansatz import (
    ANSATZE,
    Ansatz,
    Basic,
    BasicEntangler,
    FQConv,
    HQConv,
    Separable,
    StronglyEntangling,
    build_ansatz,
    register_ansatz,
)
from hqdm.circuits.circuit import Circuit, QuantumFunction
from hqdm.circuits.embeddings import AmplitudeEmbedding, AngleEmbedding, Embedding

__all__ = [
    "ANSATZE",
    "AmplitudeEmbedding",
    "AngleEmbedding",
    "Ansatz",
    "Basic",
    "BasicEntangler",
    "Circuit",
    "Embedding",
    "FQConv",
    "HQConv",
    "QuantumFunction",
    "Separable",
    "StronglyEntangling",
    "build_ansatz",
    "register_ansatz",
]
