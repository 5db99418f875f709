#!/usr/bin/env bash
# What one writes without rekindle: for every scenario a kind cluster of its own, Helm, `kubectl wait`, and a look at Helm's words.
#
# `make bench` runs it as the peer that `rekindle run` is compared with. Its tools and images come from the environment: KIND, KUBECTL,
# NODE_IMAGE, TOOLS_IMAGE, STANDIN_IMAGE. Arguments: one line per outcome, `HELM|CHART|RELEASE|VALUES|TIMEOUT|WORDS|REMEDY|GIVEN`, where
# WORDS is empty for a twin, REMEDY are arguments for the second Helm run, and GIVEN a chart that is there before.
set -euo pipefail
: "${KIND:?}" "${KUBECTL:?}" "${NODE_IMAGE:?}" "${TOOLS_IMAGE:?}" "${STANDIN_IMAGE:?}"
export KIND_EXPERIMENTAL_DOCKER_NETWORK=rekindle-bench-baseline
name=rekindle-bench-baseline
KUBECONFIG=$(mktemp)
export KUBECONFIG
log=$(mktemp)
cleanup() {
  "$KIND" delete cluster --name "$name" --kubeconfig "$KUBECONFIG" >/dev/null 2>&1 || true
  docker network rm "$KIND_EXPERIMENTAL_DOCKER_NETWORK" >/dev/null 2>&1 || true
  rm -f "$KUBECONFIG" "$log"
}
trap cleanup EXIT

for outcome in "$@"; do
  IFS='|' read -r helm chart release values timeout words remedy given <<<"$outcome"
  "$KIND" create cluster --name "$name" --image "$NODE_IMAGE" --wait 120s --kubeconfig "$KUBECONFIG" >/dev/null 2>&1
  "$KIND" load docker-image "$TOOLS_IMAGE" "$STANDIN_IMAGE" --name "$name" >/dev/null 2>&1
  wait_flag=--wait
  case $("$helm" version --short) in v4*) wait_flag=--wait=watcher ;; esac
  install() {
    # shellcheck disable=SC2086 # the remedy is a list of arguments
    "$helm" upgrade --install "$release" "$chart" --namespace trial --create-namespace ${values:+--values "$values"} \
      --set images.tools="$TOOLS_IMAGE",images.standin="$STANDIN_IMAGE" "$wait_flag" --wait-for-jobs --timeout "$timeout" "$@"
  }
  [ -z "$given" ] || "$helm" install given "$given" --namespace trial --create-namespace --set images.standin="$STANDIN_IMAGE" >/dev/null
  if install >"$log" 2>&1; then
    [ -z "$words" ] || { echo "$release did not fail" >&2; exit 1; }
  else
    grep -q -- "$words" "$log" || { echo "$release failed otherwise: $(cat "$log")" >&2; exit 1; }
    "$helm" uninstall "$release" --namespace trial --wait --timeout 60s >/dev/null
    # shellcheck disable=SC2086
    install $remedy >"$log" 2>&1 || { echo "the remedy of $release did not help: $(cat "$log")" >&2; exit 1; }
  fi
  "$KUBECTL" wait --namespace trial --for=condition=Available deployment --all --timeout 60s >/dev/null
  "$KIND" delete cluster --name "$name" --kubeconfig "$KUBECONFIG" >/dev/null 2>&1
  echo "$release ${values##*/} on ${helm%/bin/*}: as expected"
done
