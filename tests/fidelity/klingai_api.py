"""A client written for the real platform (PyPI klingai-api) completes a job at the simulator.

Environment: SIM_PLAIN_URL, SIM_ACCESS_KEY, SIM_SECRET_KEY. Prints one JSON line that the test
compares with what the simulator remembers.
"""

import json
import os
import time

import api
from exceptions import BadCredentials
from requests.exceptions import HTTPError

api.API.base = os.environ["SIM_PLAIN_URL"]
ACCESS, SECRET = os.environ["SIM_ACCESS_KEY"], os.environ["SIM_SECRET_KEY"]

try:
    with api.KlingAiAPI(ACCESS, "not the secret"):
        stranger = "let in"
except BadCredentials:
    stranger = "refused"

with api.KlingAiAPI(ACCESS, SECRET) as kling:
    created = kling.text2video(
        "a lighthouse at dusk",
        model_name=api.Text2VideoModel.kling_v2_6,
        mode=api.Mode.pro,
        duration=api.Duration.long,
        external_task_id="fidelity-pypi",
    )
    task_id = created["data"]["task_id"]
    deadline = time.monotonic() + 20
    while True:
        task = kling.get_text2video(task_id)["data"]
        if task["task_status"] in ("succeed", "failed"):
            break
        if time.monotonic() > deadline:
            raise SystemExit(f"still {task['task_status']}")
        time.sleep(0.1)
    listed = kling.list_text2video(page_num=1, page_size=10)["data"]
    try:
        kling.text2video("dead model", model_name=api.Text2VideoModel.kling_v1)
        dead_model = "created"
    except HTTPError as error:
        dead_model = error.response.json()["message"]

print(
    json.dumps(
        {
            "stranger": stranger,
            "task_id": task_id,
            "status": task["task_status"],
            "external_id": task["task_info"]["external_task_id"],
            "deduction": task["final_unit_deduction"],
            "duration": task["task_result"]["videos"][0]["duration"],
            "listed": [one["task_id"] for one in listed],
            "dead_model": dead_model,
        }
    )
)
