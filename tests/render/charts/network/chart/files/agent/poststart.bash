#!/bin/bash
set -o errexit
if [[ "$X" == "{{ 1 }}" ]]; then
	echo "tab"
fi

