"""A bare repository that only VerMAS writes: the vault."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager, suppress

from vermas.errors import GitError
from vermas.git import files
from vermas.git.objects import CommitObject, has_object, parse_commit, read_commit, write_object
from vermas.git.process import HELD, Result, run, untrusted
from vermas.git.transfer import import_commit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from git import Repo

    from vermas.git.values import MergeResult

_CONFIG = {
    "gc.auto": "0",
    "gc.pruneExpire": "never",
    "gc.worktreePruneExpire": "never",
    "gc.reflogExpire": "never",
    "gc.reflogExpireUnreachable": "never",
    "maintenance.auto": "false",
    "core.logAllRefUpdates": "always",
}


class Repository:
    """A bare repository at `path`. Each method is at most one git process unless it says otherwise.

    With `vault` the repository is one that agents can write (the yard): git then works on it with the vault's configuration.
    """

    def __init__(self, path: Path | str, *, vault: Path | str | None = None) -> None:
        self.path = os.path.abspath(path)
        self._lender = None if vault is None else os.path.join(vault, "objects")
        self._env = None if vault is None else untrusted(self.path, os.path.abspath(vault), common=self.path)

    @property
    def objects(self) -> str:
        return os.path.join(self.path, "objects")

    def git(self, *args: str, input: bytes | None = None, ok: Collection[int] = (0,), timeout_s: float = 60.0) -> Result:
        """Run git on this repository: see `vermas.git.run`."""
        return run(self.path, *args, input=input, ok=ok, timeout_s=timeout_s, env=self._env)

    def init(self, branch: str = "main", object_format: str = "sha1") -> None:
        """Create the repository; an existing one is left as it is, apart from the settings that keep its objects for ever."""
        os.makedirs(self.path, mode=0o700, exist_ok=True)
        run(
            None,
            *("init", "-q", "--bare", "--template=", f"--initial-branch={branch}", f"--object-format={object_format}"),
            *("--end-of-options", self.path),
        )
        for key, value in _CONFIG.items():
            run(self.path, "config", key, value)

    def resolve(self, name: str) -> str:
        """The full name of the commit that `name` means. Raises GitError when there is none."""
        return self.git("rev-parse", "--verify", "-q", "--end-of-options", f"{name}^{{commit}}").text

    def commit(self, name: str) -> CommitObject:
        """What a commit says, by its full name; no process when it is a loose object. Raises GitError when it is not here."""
        return read_commit(self.objects, name) or parse_commit(self.git("cat-file", "commit", name).stdout)

    def has(self, commit: str) -> bool:
        """Whether the object is here; no process. What is in the vault is complete: see `vermas.git.transfer`."""
        return has_object(self.objects, commit) or (self._lender is not None and has_object(self._lender, commit))

    def fetch(self, source: Path | str | Sequence[Path | str], commit: str, ref: str, have: Sequence[str] = ()) -> None:
        """Bring `commit` from the repository or checkout `source` (or several), which is not trusted, and point `ref` at it.

        `ref` is written last, when the commit and all it needs are proven to be here. `have` names commits that bound the walk (see
        `import_commit`). One process for a usual change.
        """
        if not files.is_object_name(commit):
            raise GitError(f"{commit!r} is not a full object name")
        if not self.has(commit):
            import_commit(self.path, [source] if isinstance(source, (str, os.PathLike)) else source, commit, have, self._env)
        self.update_ref(ref, commit)

    def is_ancestor(self, ancestor: str, commit: str) -> bool:
        """Whether `commit` contains `ancestor` (equal ones do)."""
        if ancestor == commit:
            return True
        return self.git("merge-base", "--is-ancestor", ancestor, commit, ok=(0, 1)).returncode == 0

    def merge_tree(self, ours: str, theirs: str) -> MergeResult:
        """Merge two commits without touching anything. Raises GitError when git could not say whether they conflict."""
        args = ("merge-tree", "--write-tree", "-z", "--name-only", "--no-messages", ours, theirs)
        result = self.git(*args, ok=(0, 1), timeout_s=300.0)
        tree, *conflicts = result.fields() or [""]
        if not files.is_object_name(tree):
            raise GitError(f"git merge-tree did not answer with a tree: {result.text[:200]!r}", argv=args, returncode=result.returncode)
        from vermas.git.values import MergeResult

        return MergeResult(tree, tuple(dict.fromkeys(name for name in conflicts if name)) if result.returncode else ())

    def commit_tree(self, tree: str, parents: Sequence[str], message: str, author: str, at: int) -> str:
        """Write a commit; no process. The same input gives the same name: `author` is `Name <email>`, `at` seconds since the epoch, UTC."""
        person = author.replace("\n", " ").replace("\0", "")
        lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents)]
        lines += [f"author {person} {at} +0000", f"committer {person} {at} +0000", "", message.replace("\0", "").rstrip("\n") + "\n"]
        return write_object(self.objects, "commit", os.fsencode("\n".join(lines)), like=tree)

    def ref(self, ref: str) -> str | None:
        """What `ref` points at, None when it does not exist; no process when it has a file of its own."""
        return files.read_ref(self.path, ref) or self.refs(ref).get(ref)

    def refs(self, prefix: str) -> dict[str, str]:
        """All refs under `prefix` (or the ref of that name) with their objects."""
        out = self.git("for-each-ref", "--format=%(objectname) %(refname)", "--end-of-options", prefix).text
        return {name: sha for sha, _, name in (line.partition(" ") for line in out.splitlines())}

    def update_ref(self, ref: str, new: str, old: str | None = None) -> None:
        """Point `ref` at `new`; with `old` only if it is there now (`""`: only if it does not exist).

        No process for a ref of our own in a repository that only VerMAS writes.
        """
        plain = old is None and self._env is None and _is_plain(ref) and files.is_object_name(new) and self.has(new)
        if not plain or not self._write(ref, new):
            self.update_refs([(ref, new, old)])

    def _write(self, ref: str, new: str) -> bool:
        """False when something is in the way, which git can name."""
        with self._alone():
            self._drop_stale_locks([ref])
            try:
                files.write_ref(self.path, ref, new)
            except (FileExistsError, IsADirectoryError, NotADirectoryError):
                return False
        return True

    def update_refs(self, changes: Sequence[tuple[str, str, str | None]]) -> None:
        """Several `update_ref(ref, new, old)` in one transaction and one process; `new` = "" deletes.

        One writer at a time: a lock file of git that is there nevertheless was left by one that was killed, and is removed.
        """
        commands = []
        for ref, new, old in changes:
            for name in filter(None, (new, old)):
                if not files.is_object_name(name):
                    raise GitError(f"{ref} cannot be moved: {name!r} is not a full object name")
            expected = "" if old is None else old or "0" * (len(new) or 40)
            commands.append(f"update {ref}\0{new}\0{expected}\0" if new else f"delete {ref}\0{expected}\0")
        with self._alone():
            self._drop_stale_locks(ref for ref, _, _ in changes)
            self.git("update-ref", "-z", "--stdin", input=os.fsencode("".join(commands)))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep every other writer of these refs out until the git of this one has ended, even when this process is killed first."""
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        held = HELD.set((*HELD.get(), fd))
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            HELD.reset(held)
            os.close(fd)

    def _drop_stale_locks(self, refs: Iterable[str]) -> None:
        """Agents write the yard without asking: there only VerMAS's own refs are sure to have no other writer."""
        ours = [ref for ref in refs if self._env is None or ref.startswith("refs/vermas/")]
        for name in [*ours, *(["packed-refs"] if self._env is None else [])]:
            with suppress(FileNotFoundError, NotADirectoryError):
                os.unlink(os.path.join(self.path, f"{name}.lock"))

    def tidy(self, directory: str) -> None:
        """Remove the lock files that killed gits left in a directory of refs which nobody will write again. No process."""
        with self._alone(), suppress(FileNotFoundError):
            self._drop_stale_locks(f"{directory}/{name.removesuffix('.lock')}" for name in os.listdir(os.path.join(self.path, directory)))

    def delete_ref(self, ref: str, old: str | None = None) -> None:
        """Delete `ref`; with `old` only if it is there now. An absent ref is success without `old`."""
        self.update_refs([(ref, "", old)])

    @contextmanager
    def gitpython(self, environment: Mapping[str, str] | None = None) -> Iterator[Repo]:
        """A GitPython `Repo` of this repository for reading commits, trees, diffs and history; its processes end with the block."""
        if self._env is not None:
            raise GitError(f"GitPython would obey the configuration of {self.path}, which agents can write")
        from git import Repo  # heavy, and in-session verbs must never load it

        with Repo(self.path) as repo:
            repo.git.update_environment(
                GIT_CONFIG_GLOBAL=os.devnull,
                GIT_CONFIG_NOSYSTEM="1",
                GIT_OPTIONAL_LOCKS="0",
                GIT_TERMINAL_PROMPT="0",
                **(environment or {}),
            )
            yield repo


def _is_plain(ref: str) -> bool:
    """Whether a ref is one of our own that needs no check of git's: no dots, no signs, nothing empty."""
    parts = ref.split("/")
    return parts[:2] == ["refs", "vermas"] and len(parts) > 3 and all(part.replace("-", "").isalnum() and part.isascii() for part in parts)
