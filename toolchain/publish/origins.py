"""Where each data set comes from, and on what terms: what a card says beside a network trained on it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Origin:
    """``title``: the set in full. ``origin``: who made it, and what to cite. ``terms``: its licence."""

    title: str
    origin: str
    terms: str


ORIGINS: dict[str, Origin] = {
    "digits": Origin(
        "Optical Recognition of Handwritten Digits, the 1,797 images bundled with scikit-learn",
        "E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, 1998, doi:10.24432/C50P49",
        "CC BY 4.0",
    ),
    "fashion-mnist": Origin(
        "Fashion-MNIST",
        "H. Xiao, K. Rasul and R. Vollgraf, Zalando Research, 2017, arXiv:1708.07747",
        "MIT, Copyright 2017 Zalando SE",
    ),
    "mnist": Origin(
        "MNIST",
        "Y. LeCun, C. Cortes and C. J. C. Burges, from NIST Special Databases 1 and 3",
        "CC BY-SA 3.0, as commonly stated; copyright Y. LeCun and C. Cortes",
    ),
    "cifar-10": Origin(
        "CIFAR-10, a labelled subset of 80 Million Tiny Images",
        "Collected by A. Krizhevsky, V. Nair and G. Hinton; cite A. Krizhevsky, Learning Multiple Layers "
        "of Features from Tiny Images, technical report, University of Toronto, 2009",
        "no formal licence; public for research, images collected from the web",
    ),
    "stl-10": Origin(
        "STL-10, from images of ImageNet",
        "A. Coates, H. Lee and A. Y. Ng; cite An Analysis of Single-Layer Networks in Unsupervised Feature "
        "Learning, AISTATS 2011",
        "no formal licence; public for research",
    ),
}
"""By the name of the data set."""
