"""Controls: what an organisation promised, judged by the outcomes of the checks; and waivers of what is found."""
