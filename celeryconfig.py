"""Celery's settings, each with its reason. They hold no secret: Flower's Config tab prints them.

`workers.app` adds the URLs of the broker and of the result store, and the tasks. These settings are
for workers; the doors only send, without a result store (`api.jobs.doorbell`).
"""

# -- Messages are doorbells; the job record is the truth -------------------------------------------
#: A doorbell needs no redelivery: with late acks Redis runs a job twice after the visibility
#: timeout or a TCP reset. The reaper rings again for a lost doorbell.
task_acks_late = False
#: Reserve nothing behind a long job: another node may be idle (Redis).
worker_disable_prefetch = True
#: The same for RabbitMQ, which ignores the setting above.
worker_prefetch_multiplier = 1
#: Celery does not requeue when a process dies: the reaper does, with a limit for poison.
task_reject_on_worker_lost = False
#: A second doorbell for a running job would overwrite the state that Flower shows.
task_track_started = False
#: A lost broker connection must not cancel the job: it holds its own lease.
worker_cancel_long_running_tasks_on_connection_loss = False

# -- Only JSON: a message is never code ------------------------------------------------------------
task_serializer = "json"
result_serializer = "json"
accept_content = ["json"]

# -- A worker waits for an absent broker without limit ---------------------------------------------
broker_connection_retry_on_startup = True
#: The default gives up after a hundred tries.
broker_connection_max_retries = None
#: RabbitMQ's acknowledgement timeout ends the channel; without this it ends the worker.
broker_channel_error_retry = True
broker_transport_options = {
    # Longer than any doorbell waits unacknowledged (none does: acks are early).
    "visibility_timeout": 3600,
    # A frozen server is detected after this many seconds.
    "socket_timeout": 20,
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 10,
    # Ten steps and this strategy make priorities exact; the default's four steps mix them.
    "priority_steps": list(range(10)),
    "queue_order_strategy": "priority",
}
#: Finished work must not fail because Redis did not answer at its end.
result_backend_always_retry = True
#: Without an answer (a frozen server, a cut network) the call is repeated after this long; the
#: default waits two minutes.
redis_socket_timeout = 10.0
redis_socket_connect_timeout = 5.0
redis_backend_health_check_interval = 10
#: The job records are the list of jobs; Celery's results are only for AsyncResult and Flower.
result_expires = 7 * 86_400

# -- Flower for operators --------------------------------------------------------------------------
worker_send_task_events = True
task_send_sent_event = True
result_extended = True

# -- Shutdown --------------------------------------------------------------------------------------
#: SIGTERM drains: runs release their jobs within a second, so the warm shutdown is short.
worker_soft_shutdown_timeout = 0
worker_enable_soft_shutdown_on_idle = False

# -- Logs ------------------------------------------------------------------------------------------
#: `core.telemetry` writes the logs.
worker_hijack_root_logger = False
worker_redirect_stdouts = False
timezone = "UTC"
