"""The routes `/_sim/*`, with which tests, developers and the chat page control the simulator."""
