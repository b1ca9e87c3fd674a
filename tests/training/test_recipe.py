"""Recipes are typed, validated, saved and loaded."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reslab import Recipe
from reslab.errors import RecipeError
from reslab.training.recipe_presets import RECIPES


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("suffix", [".json", ".toml"])
def test_a_preset_is_equal_after_saving_and_loading(name: str, suffix: str, tmp_path: Path) -> None:
    recipe = Recipe.load(name)
    recipe.save(tmp_path / f"recipe{suffix}")
    assert Recipe.load(tmp_path / f"recipe{suffix}") == recipe


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "epochs": st.integers(1, 500),
            "batch_size": st.integers(2, 4096),
            "learning_rate": st.floats(1e-6, 10),
            "label_smoothing": st.floats(0, 0.99),
            "freeze": st.lists(st.sampled_from(["conv1", "layer1"]), unique=True).map(tuple),
            "cache": st.booleans(),
        },
    )
)
def test_any_recipe_is_equal_after_saving_and_loading(
    tmp_path_factory: pytest.TempPathFactory, settings: dict[str, object]
) -> None:
    recipe = Recipe(**settings)
    for suffix in (".json", ".toml"):
        path = tmp_path_factory.mktemp("recipe") / f"r{suffix}"
        recipe.save(path)
        assert Recipe.load(path) == recipe


def test_a_recipe_is_frozen() -> None:
    with pytest.raises(Exception, match="frozen"):
        Recipe().epochs = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"epoch": 3}, ["'epoch'", "did you mean 'epochs'"]),
        ({"lerning_rate": 3}, ["did you mean 'learning_rate'"]),
        ({"epochs": 0}, ["epochs: 0 is less than 1"]),
        ({"epochs": "many"}, ["epochs: 'many' is not a whole number"]),
        ({"optimizer": "rmsprop"}, ["optimizer", "'sgd', 'adam', 'adamw' or 'muon'"]),
        ({"optimizer": "adam", "momentum": 0.9}, ["momentum", "belongs to sgd, the optimizer is adam"]),
        ({"optimizer": "sgd", "nesterov": True, "momentum": 0}, ["nesterov", "momentum"]),
        ({"milestones": (0.5,)}, ["milestones", "schedule steps"]),
        ({"schedule": "steps"}, ["milestones"]),
        ({"schedule": "steps", "milestones": (30.0,)}, ["between 0 and 1"]),
        (
            {"schedule": "cosine", "warmup_epochs": 5, "epochs": 5},
            ["warmup_epochs", "must be less than epochs"],
        ),
        ({"warmup_epochs": 1}, ["warmup_epochs", "one_cycle"]),
        ({"size": 128, "resize": 100}, ["resize: 100", "128"]),
        ({"time": "10m", "epochs": 3}, ["time", "give time or epochs"]),
        ({"time": "ten minutes"}, ["'ten minutes' is not a duration", "90s, 10m or 1h30m"]),
        ({"time": "0s"}, ["'0s' is not a duration"]),
    ],
)
def test_invalid_settings_are_refused_by_name(settings: dict[str, object], words: list[str]) -> None:
    with pytest.raises(RecipeError) as caught:
        Recipe(**settings)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("fats", None, ["no recipe 'fats'", "did you mean 'fast'"]),
        ("missing.toml", None, ["missing.toml", "No such file"]),
        ("bad.toml", "epochs = ", ["bad.toml", "not a toml file"]),
        ("bad.json", "{", ["bad.json", "not a json file"]),
        ("list.json", "[1]", ["holds no settings"]),
        ("typo.toml", "epcohs = 3", ["did you mean 'epochs'"]),
    ],
)
def test_invalid_recipe_files_are_refused(
    name: str, content: str | None, words: list[str], tmp_path: Path
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    with pytest.raises(RecipeError) as caught:
        Recipe.load(path if "." in name else name)
    for word in words:
        assert word in str(caught.value)


def test_the_tutorial_preset_has_the_settings_of_the_tutorial() -> None:
    recipe = Recipe.load("tutorial")
    assert (recipe.optimizer, recipe.learning_rate, recipe.batch_size, recipe.epochs, recipe.size) == (
        "adam", 0.003, 32, 10, 512,
    )  # fmt: skip
    assert recipe.preprocess(3).min_crop_area == 0.08  # torchvision's default


@pytest.mark.parametrize(
    "asked",
    [
        {"random_crop": False, "horizontal_flip": False, "min_crop_area": 0.5, "color_jitter": 0.3},
        {"random_crop": True, "horizontal_flip": True, "min_crop_area": 1.0, "color_jitter": 0.0},
    ],
)
def test_augmentation_settings_reach_the_preprocessing(asked: dict[str, object]) -> None:
    preprocess = Recipe(**asked).preprocess(3)
    assert {name: getattr(preprocess, name) for name in asked} == asked


def test_changed_settings_are_validated() -> None:
    with pytest.raises(RecipeError, match="momentum"):
        Recipe.load("tutorial").with_settings(momentum=0.9)
    assert Recipe.load("tutorial").with_settings(epochs=1).epochs == 1


def test_the_default_learning_rate_follows_the_optimizer() -> None:
    """A given learning rate is kept under any optimizer."""
    assert Recipe(optimizer="adamw").learning_rate == Recipe(optimizer="adam").learning_rate == 0.001
    assert Recipe().learning_rate == Recipe(optimizer="muon").learning_rate == 0.06
    assert Recipe().with_settings(optimizer="sgd") == Recipe(
        learning_rate=0.05, weight_decay=5e-4, optimizer="sgd"
    )
    assert Recipe(learning_rate=0.3).with_settings(optimizer="sgd").learning_rate == 0.3
    assert Recipe.load("textbook").with_settings(optimizer="adam").learning_rate == 0.05


def test_a_time_is_parsed() -> None:
    for text, seconds in (("90s", 90), ("10m", 600), ("1h30m", 5400), ("2h", 7200), ("1m5s", 65)):
        assert Recipe(time=text).seconds == seconds
    assert Recipe().seconds == 0


def test_epochs_and_a_time_replace_each_other(tmp_path: Path) -> None:
    timed = Recipe(epochs=3).with_settings(time="5m")
    assert timed.time == "5m"
    assert timed.with_settings(epochs=4).time is None
    for name in ("recipe.json", "recipe.toml"):
        timed.save(tmp_path / name)
        assert Recipe.load(tmp_path / name).as_json() == timed.as_json()


def test_few_photos_get_small_batches_unless_a_size_is_given() -> None:
    sizes = {photos: Recipe().for_photos(photos).batch_size for photos in (2, 600, 1100, 2100, 7200, 10**6)}
    assert sizes == {2: 16, 600: 16, 1100: 32, 2100: 64, 7200: 128, 10**6: 128}
    assert Recipe(batch_size=64).for_photos(10).batch_size == 64


@pytest.mark.parametrize(
    ("name", "size", "resize"), [("tutorial", 128, 128), ("textbook", 64, 64), ("textbook", 192, 192)]
)
def test_another_size_keeps_the_proportion_of_resize(name: str, size: int, resize: int) -> None:
    """The tutorial shows the whole shorter side of a photo, at any size."""
    smaller = Recipe.load(name).with_settings(size=size)
    assert (smaller.size, smaller.preprocess(3).resize) == (size, resize)
    assert Recipe.load(name).with_settings(size=size, resize=200).preprocess(3).resize == 200
    assert Recipe(size=128, resize=160).with_settings(size=64).resize == 80
    assert Recipe().with_settings(size=64).resize is None
    with pytest.raises(RecipeError, match="size: "):
        Recipe.load(name).with_settings(size="large")
