"""Slurm's commands as far as submitit gives them, carried out on this machine.

`write(folder)` makes sbatch, srun, sacct, squeue and scancel there. With that folder first on PATH
a job array runs as its file says, at most as many tasks at once as `--array=0-N%LIMIT` allows.
"""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = ("sbatch", "srun", "sacct", "squeue", "scancel")


def write(folder: Path) -> None:
    """Write the commands into a folder, which also keeps the jobs' states."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in COMMANDS:
        command = folder / name
        command.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} {folder} {name} "$@"\n')
        command.chmod(0o755)


def states(folder: Path) -> dict[str, str]:
    """The state of each task, by the name of its job."""
    return {path.suffix[1:]: path.read_text() for path in sorted(folder.glob("state.*"))}


def set_state(folder: Path, job: str, state: str) -> None:
    unfinished = folder / f"new.{job}"
    unfinished.write_text(state)
    unfinished.replace(folder / f"state.{job}")


def sbatch(folder: Path, file: str) -> None:
    """Begin the tasks of a job, and say its number."""
    script = Path(file).read_text()
    (folder / f"sbatch.{time.time_ns()}").write_text(script)
    array = re.search(r"--array=0-(\d+)%(\d+)", script)
    tasks, limit = (int(array[1]) + 1, int(array[2])) if array else (1, 1)
    job = 100 + len(list(folder.glob("sbatch.*")))
    names = [f"{job}_{task}" for task in range(tasks)] if array else [str(job)]
    for name in names:
        set_state(folder, name, "PENDING")
    arguments = [str(folder), "run", file, str(job), str(limit), *names]
    quiet = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
    }
    subprocess.Popen([sys.executable, __file__, *arguments], start_new_session=True, **quiet)
    print(f"Submitted batch job {job}")


def run(folder: Path, file: str, job: str, limit: str, *names: str) -> None:
    """Run the tasks of a job, so many at once."""
    waiting, at_work = list(names), {}
    while waiting or at_work:
        while waiting and len(at_work) < int(limit):
            name = waiting.pop(0)
            if states(folder)[name] == "PENDING":
                environment = {"SLURM_JOB_ID": job, "SLURM_NTASKS": "1", "SLURM_PROCID": "0"}
                environment |= {
                    "SLURM_LOCALID": "0",
                    "SLURM_NODEID": "0",
                    "SLURM_JOB_NUM_NODES": "1",
                }
                environment |= {"SLURM_JOB_NODELIST": "localhost"}
                if "_" in name:
                    task = name.partition("_")[2]
                    environment |= {"SLURM_ARRAY_JOB_ID": job, "SLURM_ARRAY_TASK_ID": task}
                set_state(folder, name, "RUNNING")
                at_work[name] = subprocess.Popen(
                    ["bash", file], env={**os.environ, **environment}, start_new_session=True
                )
                (folder / f"pid.{name}").write_text(str(at_work[name].pid))
        time.sleep(0.1)
        for name, process in list(at_work.items()):
            if process.poll() is not None:
                set_state(folder, name, "FAILED" if process.returncode else "COMPLETED")
                del at_work[name]


def srun(folder: Path, *arguments: str) -> None:
    """Run a command with its output where the options say."""
    command = [word for word in arguments if not word.startswith("--") and word != "-"]
    values = {"--output", "--error"}
    places = {key: arguments[arguments.index(key) + 1] for key in values if key in arguments}
    command = [word for word in command if word not in places.values()]
    task = os.environ.get("SLURM_ARRAY_TASK_ID", "0")
    job = os.environ.get("SLURM_ARRAY_JOB_ID", os.environ["SLURM_JOB_ID"])
    for stream, key in ((1, "--output"), (2, "--error")):
        if key in places:
            name = f"{job}_{task}" if "SLURM_ARRAY_TASK_ID" in os.environ else job
            path = places[key].replace("%A_%a", name).replace("%j", name).replace("%t", "0")
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666), stream)
    os.execvp(command[0], command)


def sacct(folder: Path, *arguments: str) -> None:
    print("JobID|State|NodeList")
    for job, state in states(folder).items():
        print(f"{job}|{state}|localhost")


def scancel(folder: Path, *arguments: str) -> None:
    for job, state in states(folder).items():
        if any(job == given or job.startswith(f"{given}_") for given in arguments):
            if state == "RUNNING":
                os.killpg(int((folder / f"pid.{job}").read_text()), signal.SIGTERM)
            set_state(folder, job, "CANCELLED")


def squeue(folder: Path, *arguments: str) -> None:
    print(
        "\n".join(job for job, state in states(folder).items() if state in ("PENDING", "RUNNING"))
    )


if __name__ == "__main__":
    globals()[sys.argv[2]](Path(sys.argv[1]), *sys.argv[3:])
