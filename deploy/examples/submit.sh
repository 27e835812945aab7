#!/bin/sh
# Submits one task over HTTP and follows its events, beside `kling-relay dev`:
#   submit.sh [DATA_DIR [API_URL]]
set -eu
data_dir=${1:-./data} api=${2:-http://127.0.0.1:8080}
key=$(cat "$data_dir/dev/api.key")

# Repeated with the same key after a time-out, it is still one task and one payment.
answer=$(curl -sS --fail-with-body "$api/v1/tasks" \
    -H "Authorization: Bearer $key" \
    -H "Idempotency-Key: $(date +%s)-$$" \
    -d '{"product": "text-to-video", "model": "kling-2.6", "prompt": "A paper boat at dawn"}')
echo "$answer"
task=$(echo "$answer" | sed 's/.*"task_id":"\([^"]*\)".*/\1/')

# Every event of the task, live, until Ctrl-C; Last-Event-ID resumes without a gap.
curl -sSN "$api/v1/tasks/$task/events" \
    -H "Authorization: Bearer $key" -H "Accept: text/event-stream"
