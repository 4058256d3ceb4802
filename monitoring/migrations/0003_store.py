"""The store: wide typed tables by time. The SQL is frozen; a new column is a new migration that alters every level."""

from django.db import migrations

CREATE = """
CREATE TABLE deployment_sample (
    deployment_id integer NOT NULL,
    time timestamptz NOT NULL,
    version_id integer NOT NULL,
    requests_per_second real,
    errors_per_second real,
    input_tokens_per_second real,
    output_tokens_per_second real,
    requests_running real,
    requests_waiting real,
    kv_cache_usage_ratio real,
    cache_hits_per_second real,
    cache_queries_per_second real,
    preemptions_per_second real,
    request_seconds_per_second real,
    queue_seconds_per_second real,
    batched_requests_per_second real,
    batches_per_second real,
    replicas_ready real,
    replicas_desired real,
    restarts_per_second real,
    cpu_usage_cores real,
    cpu_requested_cores real,
    cpu_throttled_ratio real,
    memory_used_bytes real,
    memory_requested_bytes real,
    accelerators_requested real,
    network_receive_bytes_per_second real,
    network_transmit_bytes_per_second real,
    PRIMARY KEY (deployment_id, time, version_id)
) PARTITION BY RANGE (time);

CREATE TABLE deployment_5m (
    deployment_id integer NOT NULL,
    time timestamptz NOT NULL,
    version_id integer NOT NULL,
    requests_per_second_count real, requests_per_second_sum real, requests_per_second_min real, requests_per_second_max real,
    errors_per_second_count real, errors_per_second_sum real, errors_per_second_min real, errors_per_second_max real,
    input_tokens_per_second_count real, input_tokens_per_second_sum real, input_tokens_per_second_min real, input_tokens_per_second_max real,
    output_tokens_per_second_count real, output_tokens_per_second_sum real, output_tokens_per_second_min real, output_tokens_per_second_max real,
    requests_running_count real, requests_running_sum real, requests_running_min real, requests_running_max real,
    requests_waiting_count real, requests_waiting_sum real, requests_waiting_min real, requests_waiting_max real,
    kv_cache_usage_ratio_count real, kv_cache_usage_ratio_sum real, kv_cache_usage_ratio_min real, kv_cache_usage_ratio_max real,
    cache_hits_per_second_count real, cache_hits_per_second_sum real, cache_hits_per_second_min real, cache_hits_per_second_max real,
    cache_queries_per_second_count real, cache_queries_per_second_sum real, cache_queries_per_second_min real, cache_queries_per_second_max real,
    preemptions_per_second_count real, preemptions_per_second_sum real, preemptions_per_second_min real, preemptions_per_second_max real,
    request_seconds_per_second_count real, request_seconds_per_second_sum real, request_seconds_per_second_min real, request_seconds_per_second_max real,
    queue_seconds_per_second_count real, queue_seconds_per_second_sum real, queue_seconds_per_second_min real, queue_seconds_per_second_max real,
    batched_requests_per_second_count real, batched_requests_per_second_sum real, batched_requests_per_second_min real, batched_requests_per_second_max real,
    batches_per_second_count real, batches_per_second_sum real, batches_per_second_min real, batches_per_second_max real,
    replicas_ready_count real, replicas_ready_sum real, replicas_ready_min real, replicas_ready_max real,
    replicas_desired_count real, replicas_desired_sum real, replicas_desired_min real, replicas_desired_max real,
    restarts_per_second_count real, restarts_per_second_sum real, restarts_per_second_min real, restarts_per_second_max real,
    cpu_usage_cores_count real, cpu_usage_cores_sum real, cpu_usage_cores_min real, cpu_usage_cores_max real,
    cpu_requested_cores_count real, cpu_requested_cores_sum real, cpu_requested_cores_min real, cpu_requested_cores_max real,
    cpu_throttled_ratio_count real, cpu_throttled_ratio_sum real, cpu_throttled_ratio_min real, cpu_throttled_ratio_max real,
    memory_used_bytes_count real, memory_used_bytes_sum real, memory_used_bytes_min real, memory_used_bytes_max real,
    memory_requested_bytes_count real, memory_requested_bytes_sum real, memory_requested_bytes_min real, memory_requested_bytes_max real,
    accelerators_requested_count real, accelerators_requested_sum real, accelerators_requested_min real, accelerators_requested_max real,
    network_receive_bytes_per_second_count real, network_receive_bytes_per_second_sum real, network_receive_bytes_per_second_min real, network_receive_bytes_per_second_max real,
    network_transmit_bytes_per_second_count real, network_transmit_bytes_per_second_sum real, network_transmit_bytes_per_second_min real, network_transmit_bytes_per_second_max real,
    PRIMARY KEY (deployment_id, time, version_id)
) PARTITION BY RANGE (time);

CREATE TABLE deployment_15m (
    deployment_id integer NOT NULL,
    time timestamptz NOT NULL,
    version_id integer NOT NULL,
    requests_per_second_count real, requests_per_second_sum real, requests_per_second_min real, requests_per_second_max real,
    errors_per_second_count real, errors_per_second_sum real, errors_per_second_min real, errors_per_second_max real,
    input_tokens_per_second_count real, input_tokens_per_second_sum real, input_tokens_per_second_min real, input_tokens_per_second_max real,
    output_tokens_per_second_count real, output_tokens_per_second_sum real, output_tokens_per_second_min real, output_tokens_per_second_max real,
    requests_running_count real, requests_running_sum real, requests_running_min real, requests_running_max real,
    requests_waiting_count real, requests_waiting_sum real, requests_waiting_min real, requests_waiting_max real,
    kv_cache_usage_ratio_count real, kv_cache_usage_ratio_sum real, kv_cache_usage_ratio_min real, kv_cache_usage_ratio_max real,
    cache_hits_per_second_count real, cache_hits_per_second_sum real, cache_hits_per_second_min real, cache_hits_per_second_max real,
    cache_queries_per_second_count real, cache_queries_per_second_sum real, cache_queries_per_second_min real, cache_queries_per_second_max real,
    preemptions_per_second_count real, preemptions_per_second_sum real, preemptions_per_second_min real, preemptions_per_second_max real,
    request_seconds_per_second_count real, request_seconds_per_second_sum real, request_seconds_per_second_min real, request_seconds_per_second_max real,
    queue_seconds_per_second_count real, queue_seconds_per_second_sum real, queue_seconds_per_second_min real, queue_seconds_per_second_max real,
    batched_requests_per_second_count real, batched_requests_per_second_sum real, batched_requests_per_second_min real, batched_requests_per_second_max real,
    batches_per_second_count real, batches_per_second_sum real, batches_per_second_min real, batches_per_second_max real,
    replicas_ready_count real, replicas_ready_sum real, replicas_ready_min real, replicas_ready_max real,
    replicas_desired_count real, replicas_desired_sum real, replicas_desired_min real, replicas_desired_max real,
    restarts_per_second_count real, restarts_per_second_sum real, restarts_per_second_min real, restarts_per_second_max real,
    cpu_usage_cores_count real, cpu_usage_cores_sum real, cpu_usage_cores_min real, cpu_usage_cores_max real,
    cpu_requested_cores_count real, cpu_requested_cores_sum real, cpu_requested_cores_min real, cpu_requested_cores_max real,
    cpu_throttled_ratio_count real, cpu_throttled_ratio_sum real, cpu_throttled_ratio_min real, cpu_throttled_ratio_max real,
    memory_used_bytes_count real, memory_used_bytes_sum real, memory_used_bytes_min real, memory_used_bytes_max real,
    memory_requested_bytes_count real, memory_requested_bytes_sum real, memory_requested_bytes_min real, memory_requested_bytes_max real,
    accelerators_requested_count real, accelerators_requested_sum real, accelerators_requested_min real, accelerators_requested_max real,
    network_receive_bytes_per_second_count real, network_receive_bytes_per_second_sum real, network_receive_bytes_per_second_min real, network_receive_bytes_per_second_max real,
    network_transmit_bytes_per_second_count real, network_transmit_bytes_per_second_sum real, network_transmit_bytes_per_second_min real, network_transmit_bytes_per_second_max real,
    PRIMARY KEY (deployment_id, time, version_id)
) PARTITION BY RANGE (time);

CREATE TABLE deployment_1h (
    deployment_id integer NOT NULL,
    time timestamptz NOT NULL,
    version_id integer NOT NULL,
    requests_per_second_count real, requests_per_second_sum real, requests_per_second_min real, requests_per_second_max real,
    errors_per_second_count real, errors_per_second_sum real, errors_per_second_min real, errors_per_second_max real,
    input_tokens_per_second_count real, input_tokens_per_second_sum real, input_tokens_per_second_min real, input_tokens_per_second_max real,
    output_tokens_per_second_count real, output_tokens_per_second_sum real, output_tokens_per_second_min real, output_tokens_per_second_max real,
    requests_running_count real, requests_running_sum real, requests_running_min real, requests_running_max real,
    requests_waiting_count real, requests_waiting_sum real, requests_waiting_min real, requests_waiting_max real,
    kv_cache_usage_ratio_count real, kv_cache_usage_ratio_sum real, kv_cache_usage_ratio_min real, kv_cache_usage_ratio_max real,
    cache_hits_per_second_count real, cache_hits_per_second_sum real, cache_hits_per_second_min real, cache_hits_per_second_max real,
    cache_queries_per_second_count real, cache_queries_per_second_sum real, cache_queries_per_second_min real, cache_queries_per_second_max real,
    preemptions_per_second_count real, preemptions_per_second_sum real, preemptions_per_second_min real, preemptions_per_second_max real,
    request_seconds_per_second_count real, request_seconds_per_second_sum real, request_seconds_per_second_min real, request_seconds_per_second_max real,
    queue_seconds_per_second_count real, queue_seconds_per_second_sum real, queue_seconds_per_second_min real, queue_seconds_per_second_max real,
    batched_requests_per_second_count real, batched_requests_per_second_sum real, batched_requests_per_second_min real, batched_requests_per_second_max real,
    batches_per_second_count real, batches_per_second_sum real, batches_per_second_min real, batches_per_second_max real,
    replicas_ready_count real, replicas_ready_sum real, replicas_ready_min real, replicas_ready_max real,
    replicas_desired_count real, replicas_desired_sum real, replicas_desired_min real, replicas_desired_max real,
    restarts_per_second_count real, restarts_per_second_sum real, restarts_per_second_min real, restarts_per_second_max real,
    cpu_usage_cores_count real, cpu_usage_cores_sum real, cpu_usage_cores_min real, cpu_usage_cores_max real,
    cpu_requested_cores_count real, cpu_requested_cores_sum real, cpu_requested_cores_min real, cpu_requested_cores_max real,
    cpu_throttled_ratio_count real, cpu_throttled_ratio_sum real, cpu_throttled_ratio_min real, cpu_throttled_ratio_max real,
    memory_used_bytes_count real, memory_used_bytes_sum real, memory_used_bytes_min real, memory_used_bytes_max real,
    memory_requested_bytes_count real, memory_requested_bytes_sum real, memory_requested_bytes_min real, memory_requested_bytes_max real,
    accelerators_requested_count real, accelerators_requested_sum real, accelerators_requested_min real, accelerators_requested_max real,
    network_receive_bytes_per_second_count real, network_receive_bytes_per_second_sum real, network_receive_bytes_per_second_min real, network_receive_bytes_per_second_max real,
    network_transmit_bytes_per_second_count real, network_transmit_bytes_per_second_sum real, network_transmit_bytes_per_second_min real, network_transmit_bytes_per_second_max real,
    PRIMARY KEY (deployment_id, time, version_id)
) PARTITION BY RANGE (time);

CREATE TABLE deployment_1d (
    deployment_id integer NOT NULL,
    time timestamptz NOT NULL,
    version_id integer NOT NULL,
    requests_per_second_count real, requests_per_second_sum real, requests_per_second_min real, requests_per_second_max real,
    errors_per_second_count real, errors_per_second_sum real, errors_per_second_min real, errors_per_second_max real,
    input_tokens_per_second_count real, input_tokens_per_second_sum real, input_tokens_per_second_min real, input_tokens_per_second_max real,
    output_tokens_per_second_count real, output_tokens_per_second_sum real, output_tokens_per_second_min real, output_tokens_per_second_max real,
    requests_running_count real, requests_running_sum real, requests_running_min real, requests_running_max real,
    requests_waiting_count real, requests_waiting_sum real, requests_waiting_min real, requests_waiting_max real,
    kv_cache_usage_ratio_count real, kv_cache_usage_ratio_sum real, kv_cache_usage_ratio_min real, kv_cache_usage_ratio_max real,
    cache_hits_per_second_count real, cache_hits_per_second_sum real, cache_hits_per_second_min real, cache_hits_per_second_max real,
    cache_queries_per_second_count real, cache_queries_per_second_sum real, cache_queries_per_second_min real, cache_queries_per_second_max real,
    preemptions_per_second_count real, preemptions_per_second_sum real, preemptions_per_second_min real, preemptions_per_second_max real,
    request_seconds_per_second_count real, request_seconds_per_second_sum real, request_seconds_per_second_min real, request_seconds_per_second_max real,
    queue_seconds_per_second_count real, queue_seconds_per_second_sum real, queue_seconds_per_second_min real, queue_seconds_per_second_max real,
    batched_requests_per_second_count real, batched_requests_per_second_sum real, batched_requests_per_second_min real, batched_requests_per_second_max real,
    batches_per_second_count real, batches_per_second_sum real, batches_per_second_min real, batches_per_second_max real,
    replicas_ready_count real, replicas_ready_sum real, replicas_ready_min real, replicas_ready_max real,
    replicas_desired_count real, replicas_desired_sum real, replicas_desired_min real, replicas_desired_max real,
    restarts_per_second_count real, restarts_per_second_sum real, restarts_per_second_min real, restarts_per_second_max real,
    cpu_usage_cores_count real, cpu_usage_cores_sum real, cpu_usage_cores_min real, cpu_usage_cores_max real,
    cpu_requested_cores_count real, cpu_requested_cores_sum real, cpu_requested_cores_min real, cpu_requested_cores_max real,
    cpu_throttled_ratio_count real, cpu_throttled_ratio_sum real, cpu_throttled_ratio_min real, cpu_throttled_ratio_max real,
    memory_used_bytes_count real, memory_used_bytes_sum real, memory_used_bytes_min real, memory_used_bytes_max real,
    memory_requested_bytes_count real, memory_requested_bytes_sum real, memory_requested_bytes_min real, memory_requested_bytes_max real,
    accelerators_requested_count real, accelerators_requested_sum real, accelerators_requested_min real, accelerators_requested_max real,
    network_receive_bytes_per_second_count real, network_receive_bytes_per_second_sum real, network_receive_bytes_per_second_min real, network_receive_bytes_per_second_max real,
    network_transmit_bytes_per_second_count real, network_transmit_bytes_per_second_sum real, network_transmit_bytes_per_second_min real, network_transmit_bytes_per_second_max real,
    PRIMARY KEY (deployment_id, time, version_id)
);

CREATE TABLE replica_sample (
    replica_id integer NOT NULL,
    time timestamptz NOT NULL,
    requests_per_second real,
    requests_running real,
    requests_waiting real,
    kv_cache_usage_ratio real,
    cpu_usage_cores real,
    memory_used_bytes real,
    PRIMARY KEY (replica_id, time)
) PARTITION BY RANGE (time);

CREATE TABLE replica_5m (
    replica_id integer NOT NULL,
    time timestamptz NOT NULL,
    requests_per_second_count real, requests_per_second_sum real, requests_per_second_min real, requests_per_second_max real,
    requests_running_count real, requests_running_sum real, requests_running_min real, requests_running_max real,
    requests_waiting_count real, requests_waiting_sum real, requests_waiting_min real, requests_waiting_max real,
    kv_cache_usage_ratio_count real, kv_cache_usage_ratio_sum real, kv_cache_usage_ratio_min real, kv_cache_usage_ratio_max real,
    cpu_usage_cores_count real, cpu_usage_cores_sum real, cpu_usage_cores_min real, cpu_usage_cores_max real,
    memory_used_bytes_count real, memory_used_bytes_sum real, memory_used_bytes_min real, memory_used_bytes_max real,
    PRIMARY KEY (replica_id, time)
) PARTITION BY RANGE (time);

CREATE TABLE replica_15m (
    replica_id integer NOT NULL,
    time timestamptz NOT NULL,
    requests_per_second_count real, requests_per_second_sum real, requests_per_second_min real, requests_per_second_max real,
    requests_running_count real, requests_running_sum real, requests_running_min real, requests_running_max real,
    requests_waiting_count real, requests_waiting_sum real, requests_waiting_min real, requests_waiting_max real,
    kv_cache_usage_ratio_count real, kv_cache_usage_ratio_sum real, kv_cache_usage_ratio_min real, kv_cache_usage_ratio_max real,
    cpu_usage_cores_count real, cpu_usage_cores_sum real, cpu_usage_cores_min real, cpu_usage_cores_max real,
    memory_used_bytes_count real, memory_used_bytes_sum real, memory_used_bytes_min real, memory_used_bytes_max real,
    PRIMARY KEY (replica_id, time)
) PARTITION BY RANGE (time);

CREATE TABLE replica_1h (
    replica_id integer NOT NULL,
    time timestamptz NOT NULL,
    requests_per_second_count real, requests_per_second_sum real, requests_per_second_min real, requests_per_second_max real,
    requests_running_count real, requests_running_sum real, requests_running_min real, requests_running_max real,
    requests_waiting_count real, requests_waiting_sum real, requests_waiting_min real, requests_waiting_max real,
    kv_cache_usage_ratio_count real, kv_cache_usage_ratio_sum real, kv_cache_usage_ratio_min real, kv_cache_usage_ratio_max real,
    cpu_usage_cores_count real, cpu_usage_cores_sum real, cpu_usage_cores_min real, cpu_usage_cores_max real,
    memory_used_bytes_count real, memory_used_bytes_sum real, memory_used_bytes_min real, memory_used_bytes_max real,
    PRIMARY KEY (replica_id, time)
) PARTITION BY RANGE (time);

CREATE TABLE replica_1d (
    replica_id integer NOT NULL,
    time timestamptz NOT NULL,
    requests_per_second_count real, requests_per_second_sum real, requests_per_second_min real, requests_per_second_max real,
    requests_running_count real, requests_running_sum real, requests_running_min real, requests_running_max real,
    requests_waiting_count real, requests_waiting_sum real, requests_waiting_min real, requests_waiting_max real,
    kv_cache_usage_ratio_count real, kv_cache_usage_ratio_sum real, kv_cache_usage_ratio_min real, kv_cache_usage_ratio_max real,
    cpu_usage_cores_count real, cpu_usage_cores_sum real, cpu_usage_cores_min real, cpu_usage_cores_max real,
    memory_used_bytes_count real, memory_used_bytes_sum real, memory_used_bytes_min real, memory_used_bytes_max real,
    PRIMARY KEY (replica_id, time)
);

CREATE TABLE accelerator_sample (
    accelerator_id integer NOT NULL,
    time timestamptz NOT NULL,
    gpu_utilization_ratio real,
    gr_engine_active_ratio real,
    sm_active_ratio real,
    sm_occupancy_ratio real,
    tensor_active_ratio real,
    dram_active_ratio real,
    memory_copy_utilization_ratio real,
    encoder_utilization_ratio real,
    decoder_utilization_ratio real,
    gpu_memory_used_bytes real,
    gpu_memory_total_bytes real,
    power_watts real,
    power_limit_watts real,
    energy_joules_per_second real,
    temperature_celsius real,
    memory_temperature_celsius real,
    sm_clock_hertz real,
    memory_clock_hertz real,
    throttle_power_ratio real,
    throttle_thermal_ratio real,
    pcie_receive_bytes_per_second real,
    pcie_transmit_bytes_per_second real,
    nvlink_receive_bytes_per_second real,
    nvlink_transmit_bytes_per_second real,
    ecc_uncorrected_errors real,
    xid_code real,
    PRIMARY KEY (accelerator_id, time)
) PARTITION BY RANGE (time);

CREATE TABLE accelerator_5m (
    accelerator_id integer NOT NULL,
    time timestamptz NOT NULL,
    gpu_utilization_ratio_count real, gpu_utilization_ratio_sum real, gpu_utilization_ratio_min real, gpu_utilization_ratio_max real,
    gr_engine_active_ratio_count real, gr_engine_active_ratio_sum real, gr_engine_active_ratio_min real, gr_engine_active_ratio_max real,
    sm_active_ratio_count real, sm_active_ratio_sum real, sm_active_ratio_min real, sm_active_ratio_max real,
    sm_occupancy_ratio_count real, sm_occupancy_ratio_sum real, sm_occupancy_ratio_min real, sm_occupancy_ratio_max real,
    tensor_active_ratio_count real, tensor_active_ratio_sum real, tensor_active_ratio_min real, tensor_active_ratio_max real,
    dram_active_ratio_count real, dram_active_ratio_sum real, dram_active_ratio_min real, dram_active_ratio_max real,
    memory_copy_utilization_ratio_count real, memory_copy_utilization_ratio_sum real, memory_copy_utilization_ratio_min real, memory_copy_utilization_ratio_max real,
    encoder_utilization_ratio_count real, encoder_utilization_ratio_sum real, encoder_utilization_ratio_min real, encoder_utilization_ratio_max real,
    decoder_utilization_ratio_count real, decoder_utilization_ratio_sum real, decoder_utilization_ratio_min real, decoder_utilization_ratio_max real,
    gpu_memory_used_bytes_count real, gpu_memory_used_bytes_sum real, gpu_memory_used_bytes_min real, gpu_memory_used_bytes_max real,
    gpu_memory_total_bytes_count real, gpu_memory_total_bytes_sum real, gpu_memory_total_bytes_min real, gpu_memory_total_bytes_max real,
    power_watts_count real, power_watts_sum real, power_watts_min real, power_watts_max real,
    power_limit_watts_count real, power_limit_watts_sum real, power_limit_watts_min real, power_limit_watts_max real,
    energy_joules_per_second_count real, energy_joules_per_second_sum real, energy_joules_per_second_min real, energy_joules_per_second_max real,
    temperature_celsius_count real, temperature_celsius_sum real, temperature_celsius_min real, temperature_celsius_max real,
    memory_temperature_celsius_count real, memory_temperature_celsius_sum real, memory_temperature_celsius_min real, memory_temperature_celsius_max real,
    sm_clock_hertz_count real, sm_clock_hertz_sum real, sm_clock_hertz_min real, sm_clock_hertz_max real,
    memory_clock_hertz_count real, memory_clock_hertz_sum real, memory_clock_hertz_min real, memory_clock_hertz_max real,
    throttle_power_ratio_count real, throttle_power_ratio_sum real, throttle_power_ratio_min real, throttle_power_ratio_max real,
    throttle_thermal_ratio_count real, throttle_thermal_ratio_sum real, throttle_thermal_ratio_min real, throttle_thermal_ratio_max real,
    pcie_receive_bytes_per_second_count real, pcie_receive_bytes_per_second_sum real, pcie_receive_bytes_per_second_min real, pcie_receive_bytes_per_second_max real,
    pcie_transmit_bytes_per_second_count real, pcie_transmit_bytes_per_second_sum real, pcie_transmit_bytes_per_second_min real, pcie_transmit_bytes_per_second_max real,
    nvlink_receive_bytes_per_second_count real, nvlink_receive_bytes_per_second_sum real, nvlink_receive_bytes_per_second_min real, nvlink_receive_bytes_per_second_max real,
    nvlink_transmit_bytes_per_second_count real, nvlink_transmit_bytes_per_second_sum real, nvlink_transmit_bytes_per_second_min real, nvlink_transmit_bytes_per_second_max real,
    ecc_uncorrected_errors_count real, ecc_uncorrected_errors_sum real, ecc_uncorrected_errors_min real, ecc_uncorrected_errors_max real,
    xid_code_count real, xid_code_sum real, xid_code_min real, xid_code_max real,
    PRIMARY KEY (accelerator_id, time)
) PARTITION BY RANGE (time);

CREATE TABLE accelerator_15m (
    accelerator_id integer NOT NULL,
    time timestamptz NOT NULL,
    gpu_utilization_ratio_count real, gpu_utilization_ratio_sum real, gpu_utilization_ratio_min real, gpu_utilization_ratio_max real,
    gr_engine_active_ratio_count real, gr_engine_active_ratio_sum real, gr_engine_active_ratio_min real, gr_engine_active_ratio_max real,
    sm_active_ratio_count real, sm_active_ratio_sum real, sm_active_ratio_min real, sm_active_ratio_max real,
    sm_occupancy_ratio_count real, sm_occupancy_ratio_sum real, sm_occupancy_ratio_min real, sm_occupancy_ratio_max real,
    tensor_active_ratio_count real, tensor_active_ratio_sum real, tensor_active_ratio_min real, tensor_active_ratio_max real,
    dram_active_ratio_count real, dram_active_ratio_sum real, dram_active_ratio_min real, dram_active_ratio_max real,
    memory_copy_utilization_ratio_count real, memory_copy_utilization_ratio_sum real, memory_copy_utilization_ratio_min real, memory_copy_utilization_ratio_max real,
    encoder_utilization_ratio_count real, encoder_utilization_ratio_sum real, encoder_utilization_ratio_min real, encoder_utilization_ratio_max real,
    decoder_utilization_ratio_count real, decoder_utilization_ratio_sum real, decoder_utilization_ratio_min real, decoder_utilization_ratio_max real,
    gpu_memory_used_bytes_count real, gpu_memory_used_bytes_sum real, gpu_memory_used_bytes_min real, gpu_memory_used_bytes_max real,
    gpu_memory_total_bytes_count real, gpu_memory_total_bytes_sum real, gpu_memory_total_bytes_min real, gpu_memory_total_bytes_max real,
    power_watts_count real, power_watts_sum real, power_watts_min real, power_watts_max real,
    power_limit_watts_count real, power_limit_watts_sum real, power_limit_watts_min real, power_limit_watts_max real,
    energy_joules_per_second_count real, energy_joules_per_second_sum real, energy_joules_per_second_min real, energy_joules_per_second_max real,
    temperature_celsius_count real, temperature_celsius_sum real, temperature_celsius_min real, temperature_celsius_max real,
    memory_temperature_celsius_count real, memory_temperature_celsius_sum real, memory_temperature_celsius_min real, memory_temperature_celsius_max real,
    sm_clock_hertz_count real, sm_clock_hertz_sum real, sm_clock_hertz_min real, sm_clock_hertz_max real,
    memory_clock_hertz_count real, memory_clock_hertz_sum real, memory_clock_hertz_min real, memory_clock_hertz_max real,
    throttle_power_ratio_count real, throttle_power_ratio_sum real, throttle_power_ratio_min real, throttle_power_ratio_max real,
    throttle_thermal_ratio_count real, throttle_thermal_ratio_sum real, throttle_thermal_ratio_min real, throttle_thermal_ratio_max real,
    pcie_receive_bytes_per_second_count real, pcie_receive_bytes_per_second_sum real, pcie_receive_bytes_per_second_min real, pcie_receive_bytes_per_second_max real,
    pcie_transmit_bytes_per_second_count real, pcie_transmit_bytes_per_second_sum real, pcie_transmit_bytes_per_second_min real, pcie_transmit_bytes_per_second_max real,
    nvlink_receive_bytes_per_second_count real, nvlink_receive_bytes_per_second_sum real, nvlink_receive_bytes_per_second_min real, nvlink_receive_bytes_per_second_max real,
    nvlink_transmit_bytes_per_second_count real, nvlink_transmit_bytes_per_second_sum real, nvlink_transmit_bytes_per_second_min real, nvlink_transmit_bytes_per_second_max real,
    ecc_uncorrected_errors_count real, ecc_uncorrected_errors_sum real, ecc_uncorrected_errors_min real, ecc_uncorrected_errors_max real,
    xid_code_count real, xid_code_sum real, xid_code_min real, xid_code_max real,
    PRIMARY KEY (accelerator_id, time)
) PARTITION BY RANGE (time);

CREATE TABLE accelerator_1h (
    accelerator_id integer NOT NULL,
    time timestamptz NOT NULL,
    gpu_utilization_ratio_count real, gpu_utilization_ratio_sum real, gpu_utilization_ratio_min real, gpu_utilization_ratio_max real,
    gr_engine_active_ratio_count real, gr_engine_active_ratio_sum real, gr_engine_active_ratio_min real, gr_engine_active_ratio_max real,
    sm_active_ratio_count real, sm_active_ratio_sum real, sm_active_ratio_min real, sm_active_ratio_max real,
    sm_occupancy_ratio_count real, sm_occupancy_ratio_sum real, sm_occupancy_ratio_min real, sm_occupancy_ratio_max real,
    tensor_active_ratio_count real, tensor_active_ratio_sum real, tensor_active_ratio_min real, tensor_active_ratio_max real,
    dram_active_ratio_count real, dram_active_ratio_sum real, dram_active_ratio_min real, dram_active_ratio_max real,
    memory_copy_utilization_ratio_count real, memory_copy_utilization_ratio_sum real, memory_copy_utilization_ratio_min real, memory_copy_utilization_ratio_max real,
    encoder_utilization_ratio_count real, encoder_utilization_ratio_sum real, encoder_utilization_ratio_min real, encoder_utilization_ratio_max real,
    decoder_utilization_ratio_count real, decoder_utilization_ratio_sum real, decoder_utilization_ratio_min real, decoder_utilization_ratio_max real,
    gpu_memory_used_bytes_count real, gpu_memory_used_bytes_sum real, gpu_memory_used_bytes_min real, gpu_memory_used_bytes_max real,
    gpu_memory_total_bytes_count real, gpu_memory_total_bytes_sum real, gpu_memory_total_bytes_min real, gpu_memory_total_bytes_max real,
    power_watts_count real, power_watts_sum real, power_watts_min real, power_watts_max real,
    power_limit_watts_count real, power_limit_watts_sum real, power_limit_watts_min real, power_limit_watts_max real,
    energy_joules_per_second_count real, energy_joules_per_second_sum real, energy_joules_per_second_min real, energy_joules_per_second_max real,
    temperature_celsius_count real, temperature_celsius_sum real, temperature_celsius_min real, temperature_celsius_max real,
    memory_temperature_celsius_count real, memory_temperature_celsius_sum real, memory_temperature_celsius_min real, memory_temperature_celsius_max real,
    sm_clock_hertz_count real, sm_clock_hertz_sum real, sm_clock_hertz_min real, sm_clock_hertz_max real,
    memory_clock_hertz_count real, memory_clock_hertz_sum real, memory_clock_hertz_min real, memory_clock_hertz_max real,
    throttle_power_ratio_count real, throttle_power_ratio_sum real, throttle_power_ratio_min real, throttle_power_ratio_max real,
    throttle_thermal_ratio_count real, throttle_thermal_ratio_sum real, throttle_thermal_ratio_min real, throttle_thermal_ratio_max real,
    pcie_receive_bytes_per_second_count real, pcie_receive_bytes_per_second_sum real, pcie_receive_bytes_per_second_min real, pcie_receive_bytes_per_second_max real,
    pcie_transmit_bytes_per_second_count real, pcie_transmit_bytes_per_second_sum real, pcie_transmit_bytes_per_second_min real, pcie_transmit_bytes_per_second_max real,
    nvlink_receive_bytes_per_second_count real, nvlink_receive_bytes_per_second_sum real, nvlink_receive_bytes_per_second_min real, nvlink_receive_bytes_per_second_max real,
    nvlink_transmit_bytes_per_second_count real, nvlink_transmit_bytes_per_second_sum real, nvlink_transmit_bytes_per_second_min real, nvlink_transmit_bytes_per_second_max real,
    ecc_uncorrected_errors_count real, ecc_uncorrected_errors_sum real, ecc_uncorrected_errors_min real, ecc_uncorrected_errors_max real,
    xid_code_count real, xid_code_sum real, xid_code_min real, xid_code_max real,
    PRIMARY KEY (accelerator_id, time)
) PARTITION BY RANGE (time);

CREATE TABLE accelerator_1d (
    accelerator_id integer NOT NULL,
    time timestamptz NOT NULL,
    gpu_utilization_ratio_count real, gpu_utilization_ratio_sum real, gpu_utilization_ratio_min real, gpu_utilization_ratio_max real,
    gr_engine_active_ratio_count real, gr_engine_active_ratio_sum real, gr_engine_active_ratio_min real, gr_engine_active_ratio_max real,
    sm_active_ratio_count real, sm_active_ratio_sum real, sm_active_ratio_min real, sm_active_ratio_max real,
    sm_occupancy_ratio_count real, sm_occupancy_ratio_sum real, sm_occupancy_ratio_min real, sm_occupancy_ratio_max real,
    tensor_active_ratio_count real, tensor_active_ratio_sum real, tensor_active_ratio_min real, tensor_active_ratio_max real,
    dram_active_ratio_count real, dram_active_ratio_sum real, dram_active_ratio_min real, dram_active_ratio_max real,
    memory_copy_utilization_ratio_count real, memory_copy_utilization_ratio_sum real, memory_copy_utilization_ratio_min real, memory_copy_utilization_ratio_max real,
    encoder_utilization_ratio_count real, encoder_utilization_ratio_sum real, encoder_utilization_ratio_min real, encoder_utilization_ratio_max real,
    decoder_utilization_ratio_count real, decoder_utilization_ratio_sum real, decoder_utilization_ratio_min real, decoder_utilization_ratio_max real,
    gpu_memory_used_bytes_count real, gpu_memory_used_bytes_sum real, gpu_memory_used_bytes_min real, gpu_memory_used_bytes_max real,
    gpu_memory_total_bytes_count real, gpu_memory_total_bytes_sum real, gpu_memory_total_bytes_min real, gpu_memory_total_bytes_max real,
    power_watts_count real, power_watts_sum real, power_watts_min real, power_watts_max real,
    power_limit_watts_count real, power_limit_watts_sum real, power_limit_watts_min real, power_limit_watts_max real,
    energy_joules_per_second_count real, energy_joules_per_second_sum real, energy_joules_per_second_min real, energy_joules_per_second_max real,
    temperature_celsius_count real, temperature_celsius_sum real, temperature_celsius_min real, temperature_celsius_max real,
    memory_temperature_celsius_count real, memory_temperature_celsius_sum real, memory_temperature_celsius_min real, memory_temperature_celsius_max real,
    sm_clock_hertz_count real, sm_clock_hertz_sum real, sm_clock_hertz_min real, sm_clock_hertz_max real,
    memory_clock_hertz_count real, memory_clock_hertz_sum real, memory_clock_hertz_min real, memory_clock_hertz_max real,
    throttle_power_ratio_count real, throttle_power_ratio_sum real, throttle_power_ratio_min real, throttle_power_ratio_max real,
    throttle_thermal_ratio_count real, throttle_thermal_ratio_sum real, throttle_thermal_ratio_min real, throttle_thermal_ratio_max real,
    pcie_receive_bytes_per_second_count real, pcie_receive_bytes_per_second_sum real, pcie_receive_bytes_per_second_min real, pcie_receive_bytes_per_second_max real,
    pcie_transmit_bytes_per_second_count real, pcie_transmit_bytes_per_second_sum real, pcie_transmit_bytes_per_second_min real, pcie_transmit_bytes_per_second_max real,
    nvlink_receive_bytes_per_second_count real, nvlink_receive_bytes_per_second_sum real, nvlink_receive_bytes_per_second_min real, nvlink_receive_bytes_per_second_max real,
    nvlink_transmit_bytes_per_second_count real, nvlink_transmit_bytes_per_second_sum real, nvlink_transmit_bytes_per_second_min real, nvlink_transmit_bytes_per_second_max real,
    ecc_uncorrected_errors_count real, ecc_uncorrected_errors_sum real, ecc_uncorrected_errors_min real, ecc_uncorrected_errors_max real,
    xid_code_count real, xid_code_sum real, xid_code_min real, xid_code_max real,
    PRIMARY KEY (accelerator_id, time)
);

CREATE TABLE node_sample (
    node_id integer NOT NULL,
    time timestamptz NOT NULL,
    cpu_utilization_ratio real,
    cpu_cores real,
    load1 real,
    memory_used_bytes real,
    memory_total_bytes real,
    disk_used_bytes real,
    disk_total_bytes real,
    disk_read_bytes_per_second real,
    disk_written_bytes_per_second real,
    network_receive_bytes_per_second real,
    network_transmit_bytes_per_second real,
    cpu_pressure_ratio real,
    memory_pressure_ratio real,
    io_pressure_ratio real,
    PRIMARY KEY (node_id, time)
) PARTITION BY RANGE (time);

CREATE TABLE node_5m (
    node_id integer NOT NULL,
    time timestamptz NOT NULL,
    cpu_utilization_ratio_count real, cpu_utilization_ratio_sum real, cpu_utilization_ratio_min real, cpu_utilization_ratio_max real,
    cpu_cores_count real, cpu_cores_sum real, cpu_cores_min real, cpu_cores_max real,
    load1_count real, load1_sum real, load1_min real, load1_max real,
    memory_used_bytes_count real, memory_used_bytes_sum real, memory_used_bytes_min real, memory_used_bytes_max real,
    memory_total_bytes_count real, memory_total_bytes_sum real, memory_total_bytes_min real, memory_total_bytes_max real,
    disk_used_bytes_count real, disk_used_bytes_sum real, disk_used_bytes_min real, disk_used_bytes_max real,
    disk_total_bytes_count real, disk_total_bytes_sum real, disk_total_bytes_min real, disk_total_bytes_max real,
    disk_read_bytes_per_second_count real, disk_read_bytes_per_second_sum real, disk_read_bytes_per_second_min real, disk_read_bytes_per_second_max real,
    disk_written_bytes_per_second_count real, disk_written_bytes_per_second_sum real, disk_written_bytes_per_second_min real, disk_written_bytes_per_second_max real,
    network_receive_bytes_per_second_count real, network_receive_bytes_per_second_sum real, network_receive_bytes_per_second_min real, network_receive_bytes_per_second_max real,
    network_transmit_bytes_per_second_count real, network_transmit_bytes_per_second_sum real, network_transmit_bytes_per_second_min real, network_transmit_bytes_per_second_max real,
    cpu_pressure_ratio_count real, cpu_pressure_ratio_sum real, cpu_pressure_ratio_min real, cpu_pressure_ratio_max real,
    memory_pressure_ratio_count real, memory_pressure_ratio_sum real, memory_pressure_ratio_min real, memory_pressure_ratio_max real,
    io_pressure_ratio_count real, io_pressure_ratio_sum real, io_pressure_ratio_min real, io_pressure_ratio_max real,
    PRIMARY KEY (node_id, time)
) PARTITION BY RANGE (time);

CREATE TABLE node_15m (
    node_id integer NOT NULL,
    time timestamptz NOT NULL,
    cpu_utilization_ratio_count real, cpu_utilization_ratio_sum real, cpu_utilization_ratio_min real, cpu_utilization_ratio_max real,
    cpu_cores_count real, cpu_cores_sum real, cpu_cores_min real, cpu_cores_max real,
    load1_count real, load1_sum real, load1_min real, load1_max real,
    memory_used_bytes_count real, memory_used_bytes_sum real, memory_used_bytes_min real, memory_used_bytes_max real,
    memory_total_bytes_count real, memory_total_bytes_sum real, memory_total_bytes_min real, memory_total_bytes_max real,
    disk_used_bytes_count real, disk_used_bytes_sum real, disk_used_bytes_min real, disk_used_bytes_max real,
    disk_total_bytes_count real, disk_total_bytes_sum real, disk_total_bytes_min real, disk_total_bytes_max real,
    disk_read_bytes_per_second_count real, disk_read_bytes_per_second_sum real, disk_read_bytes_per_second_min real, disk_read_bytes_per_second_max real,
    disk_written_bytes_per_second_count real, disk_written_bytes_per_second_sum real, disk_written_bytes_per_second_min real, disk_written_bytes_per_second_max real,
    network_receive_bytes_per_second_count real, network_receive_bytes_per_second_sum real, network_receive_bytes_per_second_min real, network_receive_bytes_per_second_max real,
    network_transmit_bytes_per_second_count real, network_transmit_bytes_per_second_sum real, network_transmit_bytes_per_second_min real, network_transmit_bytes_per_second_max real,
    cpu_pressure_ratio_count real, cpu_pressure_ratio_sum real, cpu_pressure_ratio_min real, cpu_pressure_ratio_max real,
    memory_pressure_ratio_count real, memory_pressure_ratio_sum real, memory_pressure_ratio_min real, memory_pressure_ratio_max real,
    io_pressure_ratio_count real, io_pressure_ratio_sum real, io_pressure_ratio_min real, io_pressure_ratio_max real,
    PRIMARY KEY (node_id, time)
) PARTITION BY RANGE (time);

CREATE TABLE node_1h (
    node_id integer NOT NULL,
    time timestamptz NOT NULL,
    cpu_utilization_ratio_count real, cpu_utilization_ratio_sum real, cpu_utilization_ratio_min real, cpu_utilization_ratio_max real,
    cpu_cores_count real, cpu_cores_sum real, cpu_cores_min real, cpu_cores_max real,
    load1_count real, load1_sum real, load1_min real, load1_max real,
    memory_used_bytes_count real, memory_used_bytes_sum real, memory_used_bytes_min real, memory_used_bytes_max real,
    memory_total_bytes_count real, memory_total_bytes_sum real, memory_total_bytes_min real, memory_total_bytes_max real,
    disk_used_bytes_count real, disk_used_bytes_sum real, disk_used_bytes_min real, disk_used_bytes_max real,
    disk_total_bytes_count real, disk_total_bytes_sum real, disk_total_bytes_min real, disk_total_bytes_max real,
    disk_read_bytes_per_second_count real, disk_read_bytes_per_second_sum real, disk_read_bytes_per_second_min real, disk_read_bytes_per_second_max real,
    disk_written_bytes_per_second_count real, disk_written_bytes_per_second_sum real, disk_written_bytes_per_second_min real, disk_written_bytes_per_second_max real,
    network_receive_bytes_per_second_count real, network_receive_bytes_per_second_sum real, network_receive_bytes_per_second_min real, network_receive_bytes_per_second_max real,
    network_transmit_bytes_per_second_count real, network_transmit_bytes_per_second_sum real, network_transmit_bytes_per_second_min real, network_transmit_bytes_per_second_max real,
    cpu_pressure_ratio_count real, cpu_pressure_ratio_sum real, cpu_pressure_ratio_min real, cpu_pressure_ratio_max real,
    memory_pressure_ratio_count real, memory_pressure_ratio_sum real, memory_pressure_ratio_min real, memory_pressure_ratio_max real,
    io_pressure_ratio_count real, io_pressure_ratio_sum real, io_pressure_ratio_min real, io_pressure_ratio_max real,
    PRIMARY KEY (node_id, time)
) PARTITION BY RANGE (time);

CREATE TABLE node_1d (
    node_id integer NOT NULL,
    time timestamptz NOT NULL,
    cpu_utilization_ratio_count real, cpu_utilization_ratio_sum real, cpu_utilization_ratio_min real, cpu_utilization_ratio_max real,
    cpu_cores_count real, cpu_cores_sum real, cpu_cores_min real, cpu_cores_max real,
    load1_count real, load1_sum real, load1_min real, load1_max real,
    memory_used_bytes_count real, memory_used_bytes_sum real, memory_used_bytes_min real, memory_used_bytes_max real,
    memory_total_bytes_count real, memory_total_bytes_sum real, memory_total_bytes_min real, memory_total_bytes_max real,
    disk_used_bytes_count real, disk_used_bytes_sum real, disk_used_bytes_min real, disk_used_bytes_max real,
    disk_total_bytes_count real, disk_total_bytes_sum real, disk_total_bytes_min real, disk_total_bytes_max real,
    disk_read_bytes_per_second_count real, disk_read_bytes_per_second_sum real, disk_read_bytes_per_second_min real, disk_read_bytes_per_second_max real,
    disk_written_bytes_per_second_count real, disk_written_bytes_per_second_sum real, disk_written_bytes_per_second_min real, disk_written_bytes_per_second_max real,
    network_receive_bytes_per_second_count real, network_receive_bytes_per_second_sum real, network_receive_bytes_per_second_min real, network_receive_bytes_per_second_max real,
    network_transmit_bytes_per_second_count real, network_transmit_bytes_per_second_sum real, network_transmit_bytes_per_second_min real, network_transmit_bytes_per_second_max real,
    cpu_pressure_ratio_count real, cpu_pressure_ratio_sum real, cpu_pressure_ratio_min real, cpu_pressure_ratio_max real,
    memory_pressure_ratio_count real, memory_pressure_ratio_sum real, memory_pressure_ratio_min real, memory_pressure_ratio_max real,
    io_pressure_ratio_count real, io_pressure_ratio_sum real, io_pressure_ratio_min real, io_pressure_ratio_max real,
    PRIMARY KEY (node_id, time)
);

CREATE TABLE latency_sample (
    deployment_id integer NOT NULL,
    latency smallint NOT NULL,
    time timestamptz NOT NULL,
    version_id integer NOT NULL,
    layout_id integer,
    counts real[],
    sum_seconds real,
    PRIMARY KEY (deployment_id, latency, time, version_id)
) PARTITION BY RANGE (time);

CREATE TABLE latency_5m (
    deployment_id integer NOT NULL,
    latency smallint NOT NULL,
    time timestamptz NOT NULL,
    version_id integer NOT NULL,
    layout_id integer,
    counts real[],
    sum_seconds real,
    PRIMARY KEY (deployment_id, latency, time, version_id)
) PARTITION BY RANGE (time);

CREATE TABLE latency_15m (
    deployment_id integer NOT NULL,
    latency smallint NOT NULL,
    time timestamptz NOT NULL,
    version_id integer NOT NULL,
    layout_id integer,
    counts real[],
    sum_seconds real,
    PRIMARY KEY (deployment_id, latency, time, version_id)
) PARTITION BY RANGE (time);

CREATE TABLE latency_1h (
    deployment_id integer NOT NULL,
    latency smallint NOT NULL,
    time timestamptz NOT NULL,
    version_id integer NOT NULL,
    layout_id integer,
    counts real[],
    sum_seconds real,
    PRIMARY KEY (deployment_id, latency, time, version_id)
) PARTITION BY RANGE (time);

CREATE TABLE latency_1d (
    deployment_id integer NOT NULL,
    latency smallint NOT NULL,
    time timestamptz NOT NULL,
    version_id integer NOT NULL,
    layout_id integer,
    counts real[],
    sum_seconds real,
    PRIMARY KEY (deployment_id, latency, time, version_id)
);
"""

DROP = """
DROP TABLE deployment_sample;
DROP TABLE deployment_5m;
DROP TABLE deployment_15m;
DROP TABLE deployment_1h;
DROP TABLE deployment_1d;
DROP TABLE replica_sample;
DROP TABLE replica_5m;
DROP TABLE replica_15m;
DROP TABLE replica_1h;
DROP TABLE replica_1d;
DROP TABLE accelerator_sample;
DROP TABLE accelerator_5m;
DROP TABLE accelerator_15m;
DROP TABLE accelerator_1h;
DROP TABLE accelerator_1d;
DROP TABLE node_sample;
DROP TABLE node_5m;
DROP TABLE node_15m;
DROP TABLE node_1h;
DROP TABLE node_1d;
DROP TABLE latency_sample;
DROP TABLE latency_5m;
DROP TABLE latency_15m;
DROP TABLE latency_1h;
DROP TABLE latency_1d;
"""


class Migration(migrations.Migration):
    dependencies = [("monitoring", "0002_audit_append_only")]

    operations = [migrations.RunSQL(CREATE, DROP)]
