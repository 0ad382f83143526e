#!/bin/sh
# What `pip install -r requirements.txt` does, for requirements that are single files: no pip and no download needed.
set -eu
python3 -m venv --without-pip .venv
site=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
while read -r requirement; do
    cp "$requirement" "$site/"
    echo "Successfully installed $requirement"
done < requirements.txt
