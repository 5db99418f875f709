#!/bin/sh
# Becomes dockerd, in a session that outlives its caller.
#
#   start-dockerd.sh RECORD LOG DOCKERD [ARGS…]
#
# RECORD is written first: process id and start time stay the same across exec, so that whoever stops the daemon later can prove that
# it is the one that was started here.
set -eu
record=$1 log=$2
shift 2
exec </dev/null >>"$log" 2>&1
# The 22nd field is the start time; the name before it is "(sh)" and has no blank.
start=$(cut -d ' ' -f 22 "/proc/$$/stat")
printf '{"pid": %s, "start_time": %s}\n' "$$" "$start" >"$record.new"
mv "$record.new" "$record"
exec "$@"
