#!/usr/bin/env bash
# What one writes without rekindle: for every scenario and engine a kind cluster, Helm, `kubectl wait`, and a look at Helm's words.
#
# `make bench` compares `rekindle run` with it. Tools and images come from the environment. Arguments, seven at a time: helm, chart,
# release, values of the twin, timeout, a word of the failure, and what the remedy sets.
set -euo pipefail
: "${KIND:?}" "${KUBECTL:?}" "${NODE_IMAGE:?}" "${TOOLS_IMAGE:?}" "${STANDIN_IMAGE:?}"
name=rekindle-bench-baseline
export KIND_EXPERIMENTAL_DOCKER_NETWORK=$name
scratch=$(mktemp -d)
export KUBECONFIG=$scratch/kubeconfig
export HELM_CACHE_HOME=$scratch HELM_CONFIG_HOME=$scratch HELM_DATA_HOME=$scratch

cleanup() {
  "$KIND" delete cluster --name "$name" >/dev/null 2>&1 || true
  docker network rm "$name" >/dev/null 2>&1 || true
  rm -rf "$scratch"
}
trap cleanup EXIT

fail() {
  echo "$release on $helm $1: $(tail -n 5 "$scratch/log")" >&2
  exit 1
}

while [ $# -gt 0 ]; do
  helm=$1 chart=$2 release=$3 twin=$4 timeout=$5 words=$6 remedy=$7
  shift 7
  wait=--wait
  case $("$helm" version --short) in v4*) wait=--wait=watcher ;; esac

  # Install or upgrade, into which namespace, and what else Helm is told.
  run() {
    "$helm" "$1" "$release" "$chart" --namespace "${@:2}" "$wait" --wait-for-jobs --timeout "$timeout" \
      --set "images.tools=$TOOLS_IMAGE,images.standin=$STANDIN_IMAGE" >"$scratch/log" 2>&1
  }
  ready() {
    "$KUBECTL" wait --namespace "$1" --for=condition=Available deployment --all --timeout 60s >"$scratch/log" 2>&1
  }

  "$KIND" create cluster --name "$name" --image "$NODE_IMAGE" --wait 120s >"$scratch/log" 2>&1 || fail "has no cluster"
  "$KIND" load docker-image "$TOOLS_IMAGE" "$STANDIN_IMAGE" --name "$name" >"$scratch/log" 2>&1 || fail "has no images"

  if run install broken --create-namespace; then fail "does not fail"; fi
  grep -qF -- "$words" "$scratch/log" || fail "fails otherwise"
  run upgrade broken --set "$remedy" || fail "is not remedied"
  ready broken || fail "does not get healthy"

  run install twin --create-namespace --values "$twin" || fail "has a broken twin"
  ready twin || fail "has an unhealthy twin"

  "$KIND" delete cluster --name "$name" >/dev/null 2>&1
done
