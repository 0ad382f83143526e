HELLO = "hello from a requirement"
