"""Data cards: what a set is, for people (Markdown) and for programs (Croissant), from one source."""

from organoseg.dataset.card.card import Card, read_card
from organoseg.dataset.card.croissant import croissant, write_croissant
from organoseg.dataset.card.facts import CardFacts
from organoseg.dataset.card.lab import write_lab_card
from organoseg.dataset.card.statistics import SetStatistics, statistics_of

__all__ = [
    "Card",
    "CardFacts",
    "SetStatistics",
    "croissant",
    "read_card",
    "statistics_of",
    "write_croissant",
    "write_lab_card",
]
