# The factory in a container: `docker compose up -d --build`. Without a GPU: --build-arg TORCH_INDEX=<the CPU index of PyTorch>.
FROM python:3.11-slim

RUN useradd --create-home --uid 1000 weaver && install -d -o weaver -g weaver /app /data
WORKDIR /app
USER weaver
COPY --chown=weaver:weaver constraints.txt pyproject.toml README.md LICENSE ./
COPY --chown=weaver:weaver scripts scripts
COPY --chown=weaver:weaver core core
COPY --chown=weaver:weaver daemons daemons
COPY --chown=weaver:weaver trainer trainer
COPY --chown=weaver:weaver weaver weaver
COPY --chown=weaver:weaver config config

ARG TORCH_INDEX=""
RUN python -m venv .venv \
    && if [ -n "$TORCH_INDEX" ]; then .venv/bin/pip install --no-cache-dir -c constraints.txt --index-url "$TORCH_INDEX" torch; fi \
    && PIP_NO_CACHE_DIR=1 ./scripts/install.sh

ENV PATH=/app/.venv/bin:$PATH WEAVER_HOME=/data WEAVER_IN_CONTAINER=1
VOLUME /data
HEALTHCHECK --interval=30s --timeout=10s --start-period=180s CMD ["weaver", "status"]
CMD ["sh", "-c", "[ -e \"$WEAVER_HOME/config\" ] || cp -r config \"$WEAVER_HOME/\"; exec weaver supervise"]
