"""A flow from a prompt: generated once, looked at, then run for several inputs, two at a time."""

import asyncio
import sys

from typing_extensions import TypedDict

from dynamicflow import DynamicFlow, tool

CELSIUS = {"Cairo": 34.0, "Lisbon": 22.5, "Oslo": 4.0, "Yakutsk": -38.0}


class Weather(TypedDict):
    """The weather somewhere, now."""

    city: str
    temperature: float


class Advice(TypedDict):
    """What to put on."""

    clothes: str


@tool(side_effect="none")
def get_weather(city: str) -> Weather:
    """Get the weather in a city. Returns the temperature in degrees Celsius."""
    return {"city": city, "temperature": CELSIUS[city]}


@tool(side_effect="none")
def suggest_clothes(temperature: float) -> Advice:
    """Suggest clothes for a temperature in degrees Celsius."""
    if temperature < 0:
        return {"clothes": "a fur coat"}
    return {"clothes": "a jacket" if temperature < 20 else "a shirt"}


PROMPT = "Get the weather in the city, then suggest clothes for the temperature."


async def main() -> None:
    flow = await DynamicFlow.generate(prompt=PROMPT, tools=[get_weather, suggest_clothes])
    sys.stderr.write(f"{flow.inspect()}\n")

    two_at_a_time = asyncio.Semaphore(2)

    async def advice(city: str) -> str:
        async with two_at_a_time:
            result = await flow.run_collect({"city": city})
        return f"{city}: {result.output['clothes']}"

    for line in await asyncio.gather(*map(advice, CELSIUS)):
        sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    asyncio.run(main())
