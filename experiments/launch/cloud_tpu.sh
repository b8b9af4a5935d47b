#!/usr/bin/env bash
# A Cloud TPU slice as a queued resource, set up on every host, training on all of them. The same call goes on.
#
#   PROJECT=p ZONE=europe-west4-a BUCKET=b NAME=sora TYPE=v6e-64 REPOSITORY=https://... \
#       experiments/launch/cloud_tpu.sh \
#       --config configs/dit.py:7b --config.mesh.fsdp=16 --config.mesh.context=4 \
#       --config.autoencoder=/mnt/run/frozen --config.data.latents=/mnt/run/latents
set -euo pipefail
: "${PROJECT:?}" "${ZONE:?}" "${BUCKET:?a bucket, mounted at /mnt/run on every host}" "${NAME:?}" "${TYPE:?}"
RUNTIME=${RUNTIME:-v2-alpha-tpuv6e}  # v5p: v2-alpha-tpuv5
REPOSITORY=${REPOSITORY:?where git clones this code from}
at=(--project="$PROJECT" --zone="$ZONE")

if ! gcloud compute tpus queued-resources describe "$NAME" "${at[@]}" >/dev/null 2>&1; then
  gcloud compute tpus queued-resources create "$NAME" --node-id="$NAME" "${at[@]}" \
    --accelerator-type="$TYPE" --runtime-version="$RUNTIME" --spot
fi
until state=$(gcloud compute tpus queued-resources describe "$NAME" "${at[@]}" --format='value(state.state)') &&
  [[ $state == ACTIVE ]]; do
  case $state in
    FAILED | SUSPENDED)  # a spot slice that was taken back: delete it, and ask again
      gcloud compute tpus queued-resources delete "$NAME" "${at[@]}" --quiet --force
      exec "$0" "$@" ;;
  esac
  echo "$NAME: $state"
  sleep 60
done

everywhere() { gcloud compute tpus tpu-vm ssh "$NAME" "${at[@]}" --worker=all --command="$1"; }

everywhere "set -e
  command -v gcsfuse >/dev/null || {
    key=/usr/share/keyrings/cloud.google.asc
    curl -s https://packages.cloud.google.com/apt/doc/apt-key.gpg | sudo tee \$key >/dev/null
    echo deb [signed-by=\$key] https://packages.cloud.google.com/apt gcsfuse-\$(lsb_release -cs) main |
      sudo tee /etc/apt/sources.list.d/gcsfuse.list >/dev/null
    sudo apt-get update -q && sudo apt-get install -yq gcsfuse python3.11-venv
  }
  sudo mkdir -p /mnt/run && sudo chown \$USER /mnt/run
  mountpoint -q /mnt/run || gcsfuse --implicit-dirs $BUCKET /mnt/run
  [ -d sora_jax ] || git clone -q $REPOSITORY sora_jax
  cd sora_jax
  [ -d .venv ] || python3.11 -m venv .venv
  .venv/bin/pip install -q -e '.[tpu]'"
everywhere "cd sora_jax && exec .venv/bin/python -m sora_jax.train --distributed auto --workdir /mnt/run/$NAME $(printf '%q ' "$@")"
