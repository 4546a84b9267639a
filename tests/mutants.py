"""Breaks one coefficient of the diffusion core at a time, in a copy, and sees whether a test notices.

Prints the rows of the table in CONTRIBUTING.md.

python tests/mutants.py            # all; exit status 1 if one survives
python tests/mutants.py unipc      # those whose file has this in its name
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOLVER = ("tests/diffusion/test_solvers.py", "tests/diffusion/test_solver_parity.py")
PATH = ("tests/diffusion/test_schedules.py", "tests/diffusion/test_timesteps.py")
PREDICTION = ("tests/diffusion/test_denoiser.py", "tests/diffusion/test_timesteps.py")
LOSS = ("tests/losses/test_losses.py", "tests/losses/test_loss_parts.py")
GUIDANCE = ("tests/diffusion/test_guidance.py",)

# file, what stands there (once), what is put in its place, the tests that ought to notice
MUTANTS = [
    ("diffusion/solvers/ddim.py", "self.eta * then.sigma", "self.eta * now.sigma", SOLVER),
    ("diffusion/solvers/ddim.py", "then.sigma**2 - drawn**2", "then.sigma**2 + drawn**2", SOLVER),
    ("diffusion/solvers/base.py", "point.alpha * estimate.x", "1.01 * point.alpha * estimate.x", SOLVER),
    ("diffusion/solvers/dpm_solver.py", "- then.alpha * math.expm1", "- 1.001 * then.alpha * math.expm1", SOLVER),
    ("diffusion/solvers/dpm_solver.py", "schedule.log_snr(s)) / 2)", "schedule.log_snr(s)) / 2.2)", SOLVER),
    ("diffusion/solvers/dpm_solver.py", "/ (2 * h_prev)", "/ (2.1 * h_prev)", SOLVER),
    ("diffusion/solvers/dpm_solver.py", "curvature_share = 1.0", "curvature_share = 0.9", SOLVER),
    ("diffusion/solvers/dpm_solver.py", "phi_3 = phi_2 / h - 0.5", "phi_3 = phi_2 / h - 0.45", SOLVER),
    ("diffusion/solvers/dpm_solver.py", "fresh = -math.expm1(-2 * h)", "fresh = -math.expm1(-1.8 * h)", SOLVER),
    ("diffusion/solvers/unipc.py", "return [0.5]", "return [0.55]", SOLVER),
    ("diffusion/solvers/unipc.py", "phi = phi / -h - 1 / math.factorial(k + 1)", "phi = phi / -h - 1 / math.factorial(k)", SOLVER),
    ("diffusion/solvers/heun.py", "then.alpha * way / 2", "then.alpha * way / 2.05", SOLVER),
    ("diffusion/solvers/heun.py", "2 * math.log1p(self.churn)", "1.9 * math.log1p(self.churn)", SOLVER),
    ("diffusion/solvers/midpoint.py", "middle = (t + s) / 2", "middle = (t + 1.1 * s) / 2.1", SOLVER),
    ("diffusion/solvers/euler_maruyama.py", "diffusion**2 / now.sigma", "0.9 * diffusion**2 / now.sigma", SOLVER),
    ("diffusion/solvers/euler_maruyama.py", "diffusion * math.sqrt(float(t - s))", "diffusion * float(t - s)", SOLVER),
    ("diffusion/solvers/predictor_corrector.py", "2 * size - size**2", "2 * size", SOLVER),
    ("diffusion/schedules/base.py", "2 * sigma * (d_sigma - drift * sigma)", "2 * sigma * (d_sigma + drift * sigma)", PATH),
    ("diffusion/schedules/base.py", "drift = d_alpha / alpha", "drift = d_alpha / alpha**2", PATH),
    ("diffusion/schedules/variance_preserving.py", "return -2 * (u * (math.pi / 2)).tan().log()", "return -2.1 * (u * (math.pi / 2)).tan().log()", PATH),
    ("diffusion/schedules/variance_preserving.py", "(self.beta_max - self.beta_min) / 2 * u", "(self.beta_max - self.beta_min) / 2.1 * u", PATH),
    ("diffusion/schedules/variance_preserving.py", "-exponent - 2 * (-(-exponent)", "-exponent - 1.9 * (-(-exponent)", PATH),
    ("diffusion/schedules/variance_exploding.py", "return torch.ones_like(log_snr), (-log_snr / 2).exp()", "return torch.ones_like(log_snr), (-log_snr / 2.01).exp()", PATH),
    ("diffusion/schedules/rectified_flow.py", "return -2 * u.logit()", "return -1.9 * u.logit()", PATH),
    ("diffusion/schedules/zero_terminal.py", "alpha = self._first * (alpha_t", "alpha = (alpha_t", PATH),
    ("diffusion/timesteps.py", "torch.linspace(1.0, 0.0, steps + 1, dtype=torch.float64) ** 2", "torch.linspace(1.0, 0.0, steps + 1, dtype=torch.float64) ** 2.1", PATH),
    ("diffusion/predictions.py", "(alpha * sd**2 * (x_t / r) - sigma * sd * output) / r", "(alpha * sd**2 * (x_t / r) + sigma * sd * output) / r", PREDICTION),
    ("diffusion/predictions.py", "((alpha * self.sigma_data) ** 2 + sigma**2).sqrt()", "(alpha**2 + sigma**2).sqrt()", PREDICTION),
    ("diffusion/predictions.py", "(x_t + alpha * u) / (alpha + sigma)", "(x_t + sigma * u) / (alpha + sigma)", PREDICTION),
    ("losses/weightings.py", "log_snr.exp() + sigma_data**-2", "log_snr.exp() + sigma_data**2", LOSS),
    ("losses/time_sampling.py", "* world + rank", "+ rank", LOSS),
    ("diffusion/guidance.py", "return free + self.scale * (x - free)", "return x + self.scale * (x - free)", GUIDANCE),
]  # fmt: skip


def caught_by(file: str, old: str, new: str, tests: tuple[str, ...], copy: Path) -> str | None:
    """Names the first test that fails, or returns None: the mutant survives."""
    path, original = copy / "audiodiff" / file, (ROOT / "audiodiff" / file).read_text(encoding="utf-8")
    if original.count(old) != 1:
        raise SystemExit(f"{file}: {old!r} stands there {original.count(old)} times; bring the list up to date")
    path.write_text(original.replace(old, new), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(
        command, cwd=copy, env={**os.environ, "PYTHONPATH": str(copy)}, capture_output=True, text=True, check=False
    )
    path.write_text(original, encoding="utf-8")
    lines = done.stdout.splitlines()
    if any(line.startswith("ERROR") for line in lines):
        return "the class, when it is built"  # curve and inverse no longer meet
    failed = [line.split()[1] for line in lines if line.startswith("FAILED")]
    return failed[0].removeprefix("tests/") if failed else None


def main() -> int:
    """Tries the mutants one after the other."""
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    survivors = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "tree"
        for part in ("audiodiff", "conf", "tests", "datasets"):
            shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        for file, old, new, tests in MUTANTS:
            if wanted in file:
                found = caught_by(file, old, new, tests, copy)
                survivors += found is None
                print(f"| `{file}` | `{old}` → `{new}` | {found or 'SURVIVES'} |", flush=True)
    return int(bool(survivors))


if __name__ == "__main__":
    sys.exit(main())
