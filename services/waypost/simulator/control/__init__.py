"""`/_sim/*`: how tests, developers and the chat page drive the simulator."""
