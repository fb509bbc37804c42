#!/bin/sh
# Runs a main class of libs/, as the upstream script of this name does.
home=$(dirname "$(dirname "$(readlink -f "$0")")")
exec "${JAVA_HOME:+$JAVA_HOME/bin/}java" ${KAFKA_HEAP_OPTS:--Xmx256M} $KAFKA_OPTS \
  -Dlog4j2.configurationFile="$home/config/tools-log4j2.properties" -cp "$home/libs/*" "$@"
