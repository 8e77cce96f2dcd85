# The image of every process of Waypost. Nothing is downloaded here: `make wheels` puts all that is installed into
# build/wheels, each file checked against its hash in requirements.image.lock. Needs no BuildKit.
ARG BASE_IMAGE=python:3.13-slim

FROM ${BASE_IMAGE} AS install
COPY build/wheels /wheels
# pip runs out of its own wheel, so the base need not have it, and the environment never does. The root of a running
# container is read-only, so bytecode is made now; but not of what is never imported, which would be 80 MB.
RUN python3 -m venv --without-pip /opt/waypost \
    && export PYTHONPATH="$(echo /wheels/pip-*.whl)" \
    && /opt/waypost/bin/python -m pip --no-cache-dir --disable-pip-version-check \
        install --no-index --find-links /wheels --no-compile waypost \
    && /opt/waypost/bin/python -m pip check \
    && unset PYTHONPATH \
    && /opt/waypost/bin/python -m compileall -q -x '/kubernetes/(aio/)?client/(models|api)/|/phonenumbers/(geo|carrier)data/' \
        /opt/waypost/lib \
    && /opt/waypost/bin/waypost --version

FROM ${BASE_IMAGE}
# What a base brings for installing more is of no use to us, and of much to whoever breaks in.
RUN rm -rf /usr/local/lib/python3*/site-packages/pip* /usr/local/lib/python3*/ensurepip /usr/local/bin/pip* \
        /usr/lib/python3*/ensurepip /usr/share/python-wheels /usr/lib/python3/dist-packages/pip* /usr/bin/pip* \
    && for tool in pip pip3 gcc cc g++ make; do \
        if command -v "$tool"; then echo "the base has $tool: take one without" >&2; exit 1; fi; done
COPY --from=install /opt/waypost /opt/waypost
ENV PATH=/opt/waypost/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
# By number: Kubernetes cannot see that a user given by name is not root.
USER 10001:10001
WORKDIR /tmp
EXPOSE 8080 8081 8082 9090
ENTRYPOINT ["waypost"]
