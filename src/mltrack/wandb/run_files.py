"""The part of wandb's run that is about files: saved ones, artifacts, models and code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mltrack.wandb.notices import say_once
from mltrack.wandb.run_artifacts import RunArtifacts, artifact_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mltrack.wandb.artifact_type import Artifact
    from mltrack.wandb.saved_files import SavedFiles

__all__ = ["RunFiles"]


class RunFiles:
    """What ``wandb.Run`` has for them."""

    id: str
    _project: str
    _files: SavedFiles
    _artifacts: RunArtifacts

    def save(self, glob_str: Any = None, base_path: Any = None, policy: str = "live", glob: bool = True) -> list[str]:
        """Copy files into the run; what changes is copied again when the run ends.

        Args:
            glob_str: a path, or a pattern for several.
            base_path: what of their paths is left out of their names.
            policy: "now" copies only once.
            glob: whether the pattern's signs mean something.

        Raises:
            UsageError: the policy is unknown, or the files are not below the base path.
        """
        if glob_str is None:
            say_once("save() without a path does nothing")
            return []
        return self._files.save(glob_str, base_path, policy, glob)

    def log_artifact(
        self,
        artifact_or_path: Any,
        name: str | None = None,
        type: str | None = None,
        aliases: Sequence[str] | None = None,
        tags: Sequence[str] | None = None,
    ) -> Artifact:
        """Store an artifact, or a file or folder as one.

        Args:
            artifact_or_path: which.
            name: of one made of a path.
            type: of one made of a path.
            aliases: other names of this version; the latest is always ``latest``.
            tags: have no effect.
        """
        if tags:
            say_once("log_artifact(tags=): artifacts have aliases and metadata here, no tags")
        given = [aliases] if isinstance(aliases, str) else aliases
        return self._artifacts.log(artifact_of(artifact_or_path, name, type, f"run-{self.id}"), given)

    def use_artifact(
        self, artifact_or_name: Any, type: str | None = None, aliases: Any = None, use_as: str | None = None
    ) -> Artifact:
        """An artifact of this store, by ``[project/]name[:alias]``.

        Args:
            artifact_or_name: which.
            type: the type it must have.
            aliases: have no effect.
            use_as: has no effect.

        Raises:
            NotFoundError: there is none.
        """
        return self._artifacts.use(artifact_or_name, type)

    def link_artifact(self, artifact: Artifact, target_path: str, aliases: Sequence[str] | None = None) -> None:
        """Make an artifact the next version of a registered model, named by the last part of ``target_path``."""
        self._artifacts.link(artifact, target_path, aliases or ())

    def link_model(
        self, path: Any, registered_model_name: str, name: str | None = None, aliases: Sequence[str] | None = None
    ) -> None:
        """Store a model as ``log_model`` does, and make it the next version of a registered model.

        Args:
            path: the file or folder.
            registered_model_name: the model's name in the registry.
            name: the artifact's.
            aliases: of the version.
        """
        self.link_artifact(self.log_model(path, name), registered_model_name, aliases)

    def log_model(self, path: Any, name: str | None = None, aliases: Sequence[str] | None = None) -> Artifact:
        """Store a file or a folder as an artifact of type model."""
        return self.log_artifact(path, name, "model", aliases)

    def use_model(self, name: str) -> str:
        """Download a model; returns the path of its file, or of its folder if it has several."""
        found = self.use_artifact(name, "model")
        return found.file() if found.file_count == 1 else found.download()

    def log_code(self, root: str | None = ".", name: str | None = None, **options: Any) -> Artifact:
        """Store source files as an artifact of type code: those that end in .py, or that ``include_fn`` chooses."""
        from mltrack.wandb.artifact_type import Artifact

        folder = Path(root or ".").absolute()
        include, exclude = options.get("include_fn"), options.get("exclude_fn")
        artifact = Artifact(name or f"source-{self._project}", "code")
        for path in sorted(folder.rglob("*")):
            below = path.relative_to(folder).as_posix()
            hidden = any(part.startswith(".") or part == "wandb" for part in Path(below).parts)
            chosen = include(str(path)) if include else path.suffix == ".py"
            if path.is_file() and chosen and not hidden and not (exclude and exclude(str(path))):
                artifact.add_file(path, below)
        return self.log_artifact(artifact)
