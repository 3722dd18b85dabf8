# docker build -t dynamicflow . && docker run --rm dynamicflow demo
FROM python:3.11-slim AS build

WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
# src/dynamicflow holds links to these folders: both have to be there when it is built.
COPY src ./src
COPY tools ./tools
COPY planner ./planner
COPY streams ./streams

RUN python -m venv /opt/dynamicflow
RUN /opt/dynamicflow/bin/pip install --no-cache-dir --disable-pip-version-check -c constraints.txt .


FROM python:3.11-slim

COPY --from=build /opt/dynamicflow /opt/dynamicflow
ENV PATH=/opt/dynamicflow/bin:$PATH PYTHONUNBUFFERED=1

# Where a journal or a tools file may be mounted: docker run -v "$PWD:/work" dynamicflow run …
RUN useradd --create-home --uid 10001 dynamicflow && install -d -o dynamicflow /work
USER dynamicflow
WORKDIR /work

ENTRYPOINT ["dynamicflow"]
CMD ["--help"]
