"""``gatefold models``."""

from __future__ import annotations

import click

from toolchain.cli.common import emit, extra, json_option, table


@click.command("models")
@json_option
def command(as_json: bool) -> None:
    """List the models that can be trained, and the recipes that train them."""
    with extra("train", "training"):
        from toolchain.config import load_recipe, shipped_recipes
        from toolchain.models import models
    rows = models()
    recipes = {name: load_recipe(name) for name in shipped_recipes()}
    model_table = table(
        ["model", "data", "input", "options (defaults)", "what it is"],
        [
            [
                name,
                row.dataset,
                "x".join(map(str, row.input_shape)),
                " ".join(f"{k}={v}" for k, v in row.options.items()),
                row.summary,
            ]
            for name, row in rows.items()
        ],
    )
    recipe_table = table(
        ["recipe", "model", "data", "epochs", "what it does"],
        [[name, r.model, r.dataset, r.epochs, r.summary] for name, r in recipes.items()],
    )
    listing = {
        "models": {
            name: {
                "summary": row.summary,
                "dataset": row.dataset,
                "input_shape": list(row.input_shape),
                "options": dict(row.options),
            }
            for name, row in rows.items()
        },
        "recipes": {
            name: {"model": r.model, "dataset": r.dataset, "epochs": r.epochs}
            for name, r in recipes.items()
        },
    }
    emit(listing, as_json, f"{model_table}\n\n{recipe_table}\n\nTrain one: gatefold train NAME --out DIR")
