# The pipeline in a container. Videos, recipes and runs stay outside it:
#   docker build -t vjepa .
#   docker run --rm --gpus all --shm-size 8g -v "$PWD:/work" vjepa look my.mp4
FROM python:3.12-slim

# Only the package: its recipes are inside it, so a run needs no clone.
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY conf conf
COPY src src
COPY stages stages
RUN python -m pip install --no-cache-dir -c constraints.txt '.[plot,vlm]' && rm -rf /source

RUN useradd --create-home --uid 1000 vjepa
USER 1000
WORKDIR /work
ENTRYPOINT ["vjepa"]
CMD ["--help"]
