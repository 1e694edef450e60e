"""Ask for a folder that may not be there yet: Qt's own question for folders refuses a new name."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QHBoxLayout,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from .widgets import button, note


class FolderQuestion(QDialog):
    """A line for the name and a button to look for a folder. `folder` is the answer; nothing is made here."""

    def __init__(self, title: str, words: str, suggested: Path, parent: QWidget | None) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self._beside = suggested.parent
        self.name = QLineEdit(str(suggested))
        self.name.textChanged.connect(lambda *_: self._look())
        self.buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel
        )
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        self.state = note()
        row = QHBoxLayout()
        row.addWidget(self.name, 1)
        row.addWidget(button("Browse…", self._browse, "Look for a folder that is there"))
        whole = QVBoxLayout(self)
        whole.addWidget(note(words))
        whole.addLayout(row)
        whole.addWidget(self.state)
        whole.addWidget(self.buttons)
        self.resize(560, 160)
        self._look()

    def folder(self) -> Path | None:
        """What was named, beside the suggested one where it is a bare name; None where nothing was."""
        text = self.name.text().strip()
        return self._beside / Path(text).expanduser() if text else None

    def _browse(self) -> None:
        folder = self.folder() or self._beside
        near = next((p for p in (folder, *folder.parents) if p.is_dir()), Path.home())
        found = QFileDialog.getExistingDirectory(self, self.windowTitle(), str(near))
        if found:
            self.name.setText(found)

    def _look(self) -> None:
        folder = self.folder()
        wrong = folder is None or (folder.exists() and not folder.is_dir())
        self.buttons.button(QDialogButtonBox.StandardButton.Ok).setEnabled(not wrong)
        words = "A new folder, which will be made." if not wrong else "This is a file."
        if folder is None:
            words = "Name a folder."
        elif folder.is_dir():
            words = "It is there already; what is new is added."
        self.state.setText(words)


def ask_for_folder(
    title: str, words: str, suggested: Path, parent: QWidget | None = None
) -> Path | None:
    """A folder, new or not, that the user named; None where they changed their mind."""
    question = FolderQuestion(title, words, suggested, parent)
    return question.folder() if question.exec() else None
