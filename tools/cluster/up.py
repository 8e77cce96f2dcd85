"""`make up`: runs Waypost and a simulated Meta on a kind cluster of this machine.

The program ends when the bot has answered. The cluster keeps running.

`create.py` describes where the cluster comes from.
"""

from tools.cluster import create, hello, release
from tools.machine import KUBECONFIG, REPOSITORY, StepFailed, fail, lock_cache, print_step, run, succeeds

TEAM = "team-a"
"""The namespace of examples/."""
READY_TIMEOUT_S = 120


def main() -> None:
    """Creates the cluster, installs the chart and lets the bot answer.

    If a step fails, ends the process with one message.
    """
    try:
        lock_cache()
        offline = create.ensure_cluster()
        release.load_images(offline=offline)
        release.install_collector(offline=offline)
        print_step("installing the chart")
        release.install(release.trial_values(offline=offline))
        apply_examples()
        hello.exchange_messages()
        print(f"\nexport KUBECONFIG={KUBECONFIG}   # then: kubectl get whatsappnumbers --all-namespaces")
        print("`make down` removes everything again.")
        print_step("Waypost runs")
    except StepFailed as failure:
        fail(str(failure))


def apply_examples() -> None:
    """Applies examples/ as a product team would, and waits until the number is ready. Raises `StepFailed`."""
    print_step("applying examples/ and waiting until the number is ready")
    if not succeeds("kubectl", "get", "namespace", TEAM):
        run("kubectl", "create", "namespace", TEAM)
    run("kubectl", "apply", "--filename", REPOSITORY / "examples")
    run("kubectl", "--namespace", TEAM, "wait", "--for=condition=Ready", "whatsappnumber", "--all",
        f"--timeout={READY_TIMEOUT_S}s")  # fmt: skip
    print(run("kubectl", "--namespace", TEAM, "get", "whatsapp"))


if __name__ == "__main__":
    main()
