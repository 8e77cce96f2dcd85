"""`make up`: Waypost on a kind cluster of this machine, with a simulated Meta, until the bot has answered a message.

What it runs on is made as `bare.py` says.
"""

import bare
import hello
import release
from machine import KUBECONFIG, REPOSITORY, TEAM, StepFailed, alone, fail, run, step, works

READY_WITHIN_S = 120


def main() -> None:
    """See the module's text."""
    try:
        alone()
        offline = bare.ensure()
        release.load_images(offline=offline)
        release.collector(offline=offline)
        step("installing the chart")
        release.install(release.values(offline=offline))
        apply_examples()
        hello.say()
        print(f"\nexport KUBECONFIG={KUBECONFIG}   # then: kubectl get whatsappnumbers --all-namespaces")
        print("make down removes it all.")
        step("up")
    except StepFailed as failure:
        fail(str(failure))


def apply_examples() -> None:
    """What a product team would do."""
    step("applying examples/ and waiting until the number is ready")
    if not works("kubectl", "get", "namespace", TEAM):
        run("kubectl", "create", "namespace", TEAM)
    run("kubectl", "apply", "--filename", REPOSITORY / "examples")
    run("kubectl", "--namespace", TEAM, "wait", "--for=condition=Ready", "whatsappnumber", "--all",
        f"--timeout={READY_WITHIN_S}s")  # fmt: skip
    print(run("kubectl", "--namespace", TEAM, "get", "whatsapp"))


if __name__ == "__main__":
    main()
