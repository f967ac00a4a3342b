"""How well a Wan folder follows its prompts: held-out scenes, judged by an oracle that is no network."""
