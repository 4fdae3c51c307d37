# The Python version that the tests run on.
ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
WORKDIR /srv/tracking
# Dependencies have a layer of their own, so that a change of the code does not rebuild it.
COPY pyproject.toml constraints.txt ./
RUN pip install -c constraints.txt . && rm -rf build
COPY setup.py ./
COPY migrations migrations
COPY app app
# The package contains the migrations.
RUN pip install --no-deps --force-reinstall .

# The software bill of materials (CycloneDX): every package in the image, with its version.
FROM build AS sbom
COPY constraints-tools.txt ./
RUN python -m venv /opt/tools \
    && /opt/tools/bin/python -m pip install \
        -c constraints.txt -c constraints-tools.txt cyclonedx-bom
RUN /opt/tools/bin/python -m cyclonedx_py environment --pyproject pyproject.toml \
        --output-reproducible --output-file /opt/tracking.cdx.json /opt/venv/bin/python

FROM python:${PYTHON_VERSION}-slim
# A numeric user id: orchestrators can check that it is not root, and volumes keep their owner.
RUN groupadd --system --gid 10001 tracking \
    && useradd --system --uid 10001 --gid 10001 --no-create-home tracking \
    && install -d -m 0700 -o tracking -g tracking /var/lib/tracking
COPY --from=build /opt/venv /opt/venv
COPY --from=sbom /opt/tracking.cdx.json /usr/share/sbom/tracking.cdx.json
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    TRACKING_HOST=0.0.0.0 \
    TRACKING_AUTH=keys \
    TRACKING_DATA_DIR=/var/lib/tracking
WORKDIR /
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ.get('TRACKING_PORT', '8000') + '/health', timeout=4)"]
# The image contains no Postgres: set TRACKING_DATABASE_URL.
ENTRYPOINT ["tracking"]
CMD ["serve"]
