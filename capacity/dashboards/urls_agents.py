"""The addresses of agents: the list, the way to install one, forgetting one."""

from django.urls import URLPattern, path

from capacity.dashboards import agents, agents_install

urlpatterns: list[URLPattern] = [
    path("agents/", agents.agents, name="agents"),
    path("agents.csv", agents.agents_csv, name="agents_csv"),
    path("agents/install/", agents_install.agents_install, name="agents_install"),
    path("agents/install/live/", agents_install.install_live, name="agents_install_live"),
    path("agents/<int:pk>/", agents.agent, name="agent"),
    path("agents/<int:pk>/forget/", agents.agent_forget, name="agent_forget"),
]
