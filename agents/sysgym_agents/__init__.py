"""Agents that turn instances into solutions: classical baselines, GNN learners and SB3 algorithms."""

from sysgym_agents.core import Agent, Budget, Learner, agent_names, make_agent, register_agent

__all__ = ["Agent", "Budget", "Learner", "agent_names", "make_agent", "register_agent"]
