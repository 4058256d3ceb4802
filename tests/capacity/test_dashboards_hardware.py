"""The pages of an accelerator and a node: their agent, processes, placements, what cannot be read, drops and Xid errors."""

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from django.utils import timezone

from capacity.dashboards.capability_words import meaning, refusals
from capacity.dashboards.charts import Plot, Trace, figure
from capacity.dashboards.hardware_facts import GPU_WORDS, HOST_WORDS, gpu_facts, words_of
from monitoring.catalog.records import Entity
from monitoring.ingest import Rows, rows_ingest
from monitoring.models import Accelerator, AcceleratorProcess, AgentGap, Event, EventKind, PlacementMethod
from tests.capacity.pages import client_of, queries, text_of
from tests.factories import make_accelerator, make_admin, make_agent, make_deployment, make_node, make_placement, make_replica

pytestmark = pytest.mark.django_db
MINUTES = 30


def measured(accelerator: Accelerator, **columns: Any) -> None:
    """One value or an array a minute over the last half hour."""
    now = timezone.now()
    times = np.floor(now.timestamp() / 60) * 60 - 60.0 * np.arange(MINUTES)[::-1]
    values = {name: np.broadcast_to(np.asarray(value, dtype=np.float64), MINUTES).copy() for name, value in columns.items()}
    assert not rows_ingest(Rows(Entity.ACCELERATOR, np.full(MINUTES, accelerator.pk), times, values), overwrite=True, now=now).rejected


def process(accelerator: Accelerator, name: str, **fields: Any) -> AcceleratorProcess:
    return AcceleratorProcess.objects.create(
        **{"accelerator": accelerator, "pid": 4100, "started_at": timezone.now() - timedelta(hours=3), "name": name} | fields
    )


class TestProcesses:
    def test_each_is_told_with_what_it_belongs_to_and_how_its_share_is_known(self) -> None:
        gpu = make_accelerator(make_agent().node)
        process(
            gpu, "python3", memory_bytes=2**33, sm_ratio=0.41, share_method="process_utilization", unit="vllm.service",
            container_id="a1b2c3d4e5f6" + "0" * 52, model_name="llama-3.1-8b",
        )  # fmt: skip
        process(gpu, "idler", pid=4200, share_method="memory", memory_bytes=2**30)
        text = text_of(client_of(make_admin()).get(f"/accelerators/{gpu.pk}/"))
        section = text[text.index('id="processes"') :].split("</section>")[0]
        for words in ("python3", "llama-3.1-8b", "8.00", "41", "estimated", "vllm.service", "container", "a1b2c3d4e5f6", "by memory only"):
            assert words in section, words
        assert "0" * 52 not in section
        assert "<b>2 now.</b>" in section

    def test_one_that_ended_is_marked_and_one_from_before_the_range_is_not_shown(self) -> None:
        gpu = make_accelerator(make_agent().node)
        process(gpu, "ended", last_seen_at=timezone.now() - timedelta(minutes=40))
        process(gpu, "long-gone", pid=1, last_seen_at=timezone.now() - timedelta(days=3))
        text = text_of(client_of(make_admin()).get(f"/accelerators/{gpu.pk}/"))
        assert "gone, last seen" in text and "<b>0 now.</b>" in text
        assert "long-gone" not in text
        assert "long-gone" in text_of(client_of(make_admin()).get(f"/accelerators/{gpu.pk}/?from=now-7d&to=now"))

    def test_without_an_agent_the_page_says_that_only_one_sees_processes(self) -> None:
        gpu = make_accelerator(make_node())
        text = text_of(client_of(make_admin()).get(f"/accelerators/{gpu.pk}/"))
        assert "Only an agent on the host sees processes" in text
        assert 'href="/agents/install/"' in text

    def test_a_program_s_name_cannot_break_the_page(self) -> None:
        gpu = make_accelerator(make_agent().node)
        process(gpu, "<script>alert(1)</script>", unit='"><img src=x>')
        text = text_of(client_of(make_admin()).get(f"/accelerators/{gpu.pk}/"))
        assert "<script>alert" not in text and "<img src=x>" not in text


class TestWhatCannotBeRead:
    def test_calls_are_told_with_what_is_missing_and_what_that_costs(self) -> None:
        agent = make_agent()
        old, new = make_accelerator(agent.node, uuid="GPU-old", position=0), make_accelerator(agent.node, uuid="GPU-new", position=1)
        agent.capabilities = {"GPU-old": {"nvmlGpmQueryDeviceSupport": "not supported by this GPU", "nvmlDeviceGetName": "ok"}}
        agent.save()
        client = client_of(make_admin())
        node = text_of(client.get(f"/nodes/{agent.node_id}/"))
        assert "SM, tensor and memory-bandwidth activity" in node
        assert "one tiny kernel counts as busy" in node
        assert "not supported by this GPU" in node and "H200 0" in node
        assert "every call answers" in text_of(client.get(f"/accelerators/{new.pk}/"))
        assert "nvmlDeviceGetName" not in text_of(client.get(f"/accelerators/{old.pk}/"))

    def test_one_line_a_missing_thing_with_its_calls_and_gpus(self) -> None:
        table = {
            "a": {"nvlink_receive_bytes_per_second": "no", "nvlink_transmit_bytes_per_second": "no"},
            "b": {"nvlink_receive_bytes_per_second": "no"},
        }
        [row] = refusals(table, {"a": "H100 0", "b": "H100 1"})
        assert row.calls == ["nvlink_receive_bytes_per_second", "nvlink_transmit_bytes_per_second"]
        assert row.on == ["H100 0", "H100 1"] and row.everywhere

    def test_a_call_nobody_knows_has_words_too(self) -> None:
        assert meaning("nvmlDeviceGetSomethingNew")[0] == "One reading"
        assert meaning("anything encoder_utilization_ratio")[0] == "Encoder busy"

    def test_facts_are_words_and_anything_odd_is_left_out(self) -> None:
        told = {"GPU-1 sm_clock_most_hertz": 1.98e9, "GPU-1 rows_remapping_failed": 2.0, "GPU-10 sm_clock_most_hertz": 1.0}
        assert words_of(gpu_facts(told, "GPU-1"), GPU_WORDS) == [
            ("Highest SM clock", "1.98 GHz"),
            ("Memory rows that could not be set aside", "2"),
        ]
        facts = words_of(
            {"kernel": "6.8", "cpus": 192, "memory_bytes": 2**40, "driver_version": None, "cuda_version": {"x": 1}}, HOST_WORDS
        )
        assert facts == [("Kernel", "6.8"), ("CPUs", "192"), ("Memory", "1.00 TiB")]


class TestCharts:
    def test_panels_of_what_is_not_measured_and_not_usual_are_left_out(self) -> None:
        gpu = make_accelerator(make_node())
        measured(gpu, gpu_utilization_ratio=0.4, sm_active_ratio=0.3, sm_clock_hertz=1.98e9)
        panels = {
            panel.slug: panel for panel in client_of(make_admin()).get(f"/accelerators/{gpu.pk}/?from=now-1h&to=now").context["panels"]
        }
        assert list(panels) == ["activity", "memory", "power", "heat", "links", "sm", "clocks"]
        assert panels["sm"].built.answer == "An SM works 30 % of the time."
        assert panels["links"].figure is None and panels["sm"].figure is not None

    def test_readings_lost_on_the_way_are_shaded_and_told(self) -> None:
        agent = make_agent()
        gpu = make_accelerator(agent.node)
        measured(gpu, gpu_utilization_ratio=0.4)
        end = timezone.now() - timedelta(minutes=20)
        AgentGap.objects.create(agent=agent, count=40, start_at=end - timedelta(minutes=10), end_at=end)
        response = client_of(make_admin()).get(f"/accelerators/{gpu.pk}/?from=now-1h&to=now")
        [shape] = [shape for shape in response.context["panels"][0].figure["layout"]["shapes"] if shape["type"] == "rect"]
        assert shape["fillcolor"] == "var(--usual-band)"
        assert (shape["x0"], shape["x1"]) == ((end - timedelta(minutes=10)).timestamp(), end.timestamp())
        assert "Shaded in the plots: dropped on the way" in text_of(response)

    def test_a_plot_marks_what_broke_and_what_was_dropped_apart(self) -> None:
        plot = Plot("?", "ratio", 0, 100, 10, 10, [Trace("x", np.ones(10))], shaded=[(10, 20)], dropped=[(-50, 30), (200, 300)])
        shapes = [shape for shape in figure(plot)["layout"]["shapes"] if shape["type"] == "rect"]
        assert [(shape["x0"], shape["x1"], shape["fillcolor"]) for shape in shapes] == [
            (10, 20, "var(--crit-shade)"),
            (0, 30, "var(--usual-band)"),
        ]

    def test_xid_errors_are_listed_once_each_newest_first(self) -> None:
        gpu = make_accelerator(make_node())
        codes = np.zeros(MINUTES)
        codes[5:20], codes[20:] = 31, 79
        measured(gpu, xid_code=codes, gpu_utilization_ratio=0.4)
        response = client_of(make_admin()).get(f"/accelerators/{gpu.pk}/?from=now-1h&to=now")
        assert [each.title for each in response.context["incidents"]] == ["Xid 79", "Xid 31"]
        assert "the GPU fell off the bus" in text_of(response)

    def test_no_error_no_list(self) -> None:
        gpu = make_accelerator(make_node())
        measured(gpu, xid_code=0.0)
        assert "GPU errors</h2>" not in text_of(client_of(make_admin()).get(f"/accelerators/{gpu.pk}/"))

    def test_what_an_agent_told_as_it_happened_stands_on_both_pages_once(self) -> None:
        node = make_agent().node
        gpu, other = make_accelerator(node, position=3), make_accelerator(node, position=4)
        measured(gpu, xid_code=79.0, gpu_utilization_ratio=0.4)
        now = timezone.now()
        told = {"kind": EventKind.INCIDENT, "title": "x"}
        xid = {"accelerator": gpu.uuid, "code": 79, "node_id": node.pk}
        loss = {"accelerator": gpu.uuid, "accelerator_id": gpu.pk, "lost": "fell off the bus", "node_id": node.pk}
        Event.objects.create(at=now - timedelta(minutes=9), detail=xid, dedup_key="xid a", **told)
        Event.objects.create(at=now - timedelta(minutes=8), end_at=now - timedelta(minutes=2), detail=loss, dedup_key="lost a", **told)
        client = client_of(make_admin())
        pages = [client.get(path) for path in (f"/accelerators/{gpu.pk}/", f"/nodes/{node.pk}/", f"/accelerators/{other.pk}/")]
        assert [[each.title for each in page.context["incidents"]] for page in pages] == [["Lost", "Xid 79"], ["Lost", "Xid 79"], []]
        assert "fell off the bus" in text_of(pages[0]) and "H200 3" in text_of(pages[1])


class TestPlacesAndParts:
    def test_placements_say_their_share_and_how_it_is_known_and_the_rest_is_unattributed(self) -> None:
        gpu = make_accelerator(make_node())
        make_placement(make_replica(make_deployment("chat"), name="chat-0"), accelerator=gpu, share=0.4, method=PlacementMethod.CGROUP)
        text = text_of(client_of(make_admin()).get(f"/accelerators/{gpu.pk}/"))
        assert "chat-0" in text and "Agent, by control group" in text
        assert '<span class="dim">unattributed</span><b>60 <span class="u">%</span></b>' in text

    def test_instances_stand_under_their_gpu_and_energy_is_said_to_be_apportioned(self) -> None:
        node = make_agent().node
        gpu = make_accelerator(node, model_name="NVIDIA H100")
        part = make_accelerator(node, parent=gpu, mig_profile="1g.10gb", position=2)
        client = client_of(make_admin())
        whole = text_of(client.get(f"/accelerators/{gpu.pk}/"))
        assert f'href="/accelerators/{part.pk}/">1g.10gb 2</a>' in whole
        assert "energy per instance is apportioned" in whole
        assert "energy per instance is apportioned" in text_of(client.get(f"/accelerators/{part.pk}/"))

    def test_a_node_shows_its_agent_and_one_without_leads_to_install(self) -> None:
        agent = make_agent("gpu-7", host={"kernel": "6.8.0", "driver_version": "580.95"}, skew_seconds=-3.0, trouble="spool is read-only")
        client = client_of(make_admin())
        text = text_of(client.get(f"/nodes/{agent.node_id}/"))
        for words in ("It sends.", "6.8.0", "580.95", "3.0 s behind", "too early", "spool is read-only"):
            assert words in text, words
        bare = make_node("cpu-1")
        assert "/agents/install/?cluster=test" in text_of(client.get(f"/nodes/{bare.pk}/"))

    def test_the_number_of_queries_does_not_grow(self) -> None:
        agent, client = make_agent(), client_of(make_admin())

        def more(number: int) -> Accelerator:
            gpu = make_accelerator(agent.node, uuid=f"GPU-{number}", position=number)
            agent.capabilities[gpu.uuid] = {"nvmlGpmSampleGet": "no"}
            agent.save()
            AgentGap.objects.create(
                agent=agent, count=1, start_at=timezone.now() - timedelta(minutes=9 + number), end_at=timezone.now() - timedelta(minutes=5)
            )
            process(gpu, f"p{number}", pid=number)
            make_placement(make_replica(make_deployment(), node=agent.node, last_seen_at=timezone.now()), accelerator=gpu)
            measured(gpu, gpu_utilization_ratio=0.4)
            return gpu

        gpu = more(0)
        one, node = queries(client, f"/accelerators/{gpu.pk}/"), queries(client, f"/nodes/{agent.node_id}/")
        for number in range(1, 8):
            more(number)
        assert queries(client, f"/accelerators/{gpu.pk}/") <= one <= 27
        assert queries(client, f"/nodes/{agent.node_id}/") <= node <= 35

    def test_a_node_reads_its_own_accelerators_only(self) -> None:
        agent = make_agent()
        make_accelerator(agent.node, uuid="GPU-mine")
        make_accelerator(make_node(), uuid="GPU-elsewhere")
        groups = client_of(make_admin()).get(f"/nodes/{agent.node_id}/").context["groups"]
        assert [row.reading.accelerator.uuid for group in groups for row in group.rows] == ["GPU-mine"]
