"""Review: a person corrects what a model found; every decision is kept, and goes back into training."""

from organoseg.review.create import create_project
from organoseg.review.estimate import Estimate, estimate_accuracy
from organoseg.review.export import ExportReport, export_project
from organoseg.review.pictures import Picture
from organoseg.review.project import Project
from organoseg.review.session import Outcome, Place, Progress, ReviewSession
from organoseg.review.shapes import cut_along, split_touching
from organoseg.review.state import ImageState, Organoid

__all__ = [
    "Estimate",
    "ExportReport",
    "ImageState",
    "Organoid",
    "Outcome",
    "Picture",
    "Place",
    "Progress",
    "Project",
    "ReviewSession",
    "create_project",
    "cut_along",
    "estimate_accuracy",
    "export_project",
    "split_touching",
]
