"""DoomTakeCover: avoid the fireballs that monsters throw from the far side of a room, for as long as possible."""

from __future__ import annotations

import contextlib
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zoo.errors import ZooError

SIDE = 64
"""Height and width of a frame."""
SKIP = 4
"""Tics for which an action is repeated; a second has 35 tics."""
LONGEST = 2100
"""Tics after which an episode is ended, as in the published experiment."""
SKILL = 4
"""Difficulty from 1 to 5 of the scenario as vizdoom publishes it."""
BUTTONS = ((False, False), (True, False), (False, True))
"""Of the actions: stay, move left, move right."""

MISSING = "DoomTakeCover is in the package vizdoom: pip install 'pyro-zoo[worlds]'"

Frame = NDArray[np.uint8]


def note(skill: int = SKILL) -> dict[str, Any]:
    """What an episode depends on besides its seed and actions.

    Raises:
        ZooError: vizdoom is not installed.
    """
    try:
        installed = version("vizdoom")
    except PackageNotFoundError:
        raise ZooError(MISSING) from None
    return {
        "scenario": "take_cover",
        "vizdoom": installed,
        "skill": skill,
        "actions": len(BUTTONS),
        "skip": SKIP,
        "side": SIDE,
        "most": LONGEST,
    }


class TakeCover:
    """The scenario ``take_cover`` of the package vizdoom, without changes: the return is the number of tics survived.

    An observation is the screen of 160x120 pixels in colour, reduced to 64x64 by area. An action is held for 4 tics.
    There is no other reward, and no information but the screen.

    Args:
        skill: Doom's difficulty, from 1 to 5.

    Raises:
        ZooError: vizdoom is not installed, or the difficulty is out of range.
    """

    def __init__(self, skill: int = SKILL) -> None:
        try:
            import vizdoom
        except ImportError:
            raise ZooError(MISSING) from None
        if not 1 <= skill <= 5:
            raise ZooError(f"the difficulty is from 1 to 5, got {skill}")
        self.scratch = tempfile.TemporaryDirectory()
        self.game: Any = vizdoom.DoomGame()
        self.game.load_config(str(Path(vizdoom.scenarios_path) / "take_cover.cfg"))
        self.game.set_doom_skill(skill)
        self.game.set_screen_resolution(vizdoom.ScreenResolution.RES_160X120)
        self.game.set_screen_format(vizdoom.ScreenFormat.RGB24)
        self.game.set_window_visible(False)
        self.game.set_sound_enabled(False)
        self.game.set_mode(vizdoom.Mode.PLAYER)
        self.game.set_episode_timeout(LONGEST)
        with contextlib.chdir(self.scratch.name):  # where the engine leaves a settings file and a folder
            self.game.init()
        self.actions = len(BUTTONS)
        self.note = note(skill)

    def reset(self, seed: int) -> Frame:
        """Begin the episode of that seed: its first frame, shape ``(SIDE, SIDE, 3)``."""
        self.game.set_seed(seed)
        self.game.new_episode()
        return self._frame()

    def step(self, action: int) -> tuple[Frame | None, int, bool]:
        """Hold an action for `SKIP` tics.

        Args:
            action: 0 to stay, 1 for left, 2 for right.

        Returns:
            The next frame, ``None`` if the episode has ended; how many tics went by; and whether it ended in death.
        """
        before = self.game.get_episode_time()
        self.game.make_action(list(BUTTONS[action]), SKIP)
        tics = self.game.get_episode_time() - before
        if self.game.is_episode_finished():
            return None, tics, bool(self.game.is_player_dead())
        return self._frame(), tics, False

    def close(self) -> None:
        """End the game's process."""
        self.game.close()
        self.scratch.cleanup()

    def _frame(self) -> Frame:
        screen = Image.fromarray(self.game.get_state().screen_buffer)
        return np.array(screen.resize((SIDE, SIDE), Image.Resampling.BOX))
