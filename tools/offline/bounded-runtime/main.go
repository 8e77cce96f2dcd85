// Command bounded-runtime wraps runc so that it never asks for a capability that this machine cannot give.
//
// A sandboxed machine may lack capabilities in its bounding set, CAP_SYS_RESOURCE for one. `docker run --privileged`
// then fails with "unable to apply caps: operation not permitted", and kind's nodes are privileged. Registered with
// `dockerd --add-runtime bounded=<path>`, the wrapper removes the missing ones from the OCI spec and executes runc.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bounded-runtime:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	bounding, err := boundingSet("/proc/self/status")
	if err != nil {
		return err
	}
	// `create` and `run` name a bundle, whose config.json contains the process; `exec` names a file with the process.
	if bundle := value(arguments, "--bundle", "-b"); bundle != "" {
		err = edit(filepath.Join(bundle, "config.json"), func(spec map[string]any) {
			if process, ok := spec["process"].(map[string]any); ok {
				limit(process, bounding)
			}
		})
	} else if process := value(arguments, "--process", "-p"); process != "" {
		err = edit(process, func(spec map[string]any) { limit(spec, bounding) })
	}
	if err != nil {
		return err
	}
	runc, err := exec.LookPath("runc")
	if err != nil {
		return fmt.Errorf("runc is not on PATH; install the package runc: %w", err)
	}
	return syscall.Exec(runc, append([]string{"runc"}, arguments...), os.Environ())
}

// boundingSet reads the mask of the capabilities that processes on this machine can have.
func boundingSet(path string) (uint64, error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	scanner := bufio.NewScanner(file)
	for scanner.Scan() {
		if mask, found := strings.CutPrefix(scanner.Text(), "CapBnd:"); found {
			return strconv.ParseUint(strings.TrimSpace(mask), 16, 64)
		}
	}
	return 0, fmt.Errorf("%s has no CapBnd line", path)
}

// value returns the value of one of the flags, given as "--flag value" or "--flag=value"; "" if there is none.
func value(arguments []string, flags ...string) string {
	for position, argument := range arguments {
		for _, flag := range flags {
			if argument == flag && position+1 < len(arguments) {
				return arguments[position+1]
			}
			if given, found := strings.CutPrefix(argument, flag+"="); found {
				return given
			}
		}
	}
	return ""
}

// edit applies a change to a JSON file.
func edit(path string, change func(map[string]any)) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	decoder := json.NewDecoder(strings.NewReader(string(content)))
	decoder.UseNumber() // a uint64 of the spec must not become a float
	var spec map[string]any
	if err := decoder.Decode(&spec); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	change(spec)
	edited, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	return os.WriteFile(path, edited, 0o600)
}

// limit removes from every set of the process the capabilities that are not in the bounding set.
func limit(process map[string]any, bounding uint64) {
	sets, ok := process["capabilities"].(map[string]any)
	if !ok {
		return
	}
	for name, set := range sets {
		requested, ok := set.([]any)
		if !ok {
			continue
		}
		available := make([]any, 0, len(requested))
		for _, capability := range requested {
			number, found := numbers[fmt.Sprint(capability)]
			if found && bounding&(1<<number) != 0 {
				available = append(available, capability)
			}
		}
		sets[name] = available
	}
}
