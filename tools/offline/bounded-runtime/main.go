// Command bounded-runtime is a runc that asks for no capability which this machine cannot give.
//
// A sandboxed machine may lack capabilities in its bounding set, CAP_SYS_RESOURCE for one. `docker run --privileged`
// then fails with "unable to apply caps: operation not permitted", and kind's nodes are privileged. Registered with
// `dockerd --add-runtime bounded=<this>`, the wrapper removes the missing ones from the OCI spec and hands over to runc.
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
	// `create` and `run` name a bundle whose config.json holds the process; `exec` names a file that is the process.
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

// boundingSet reads the mask of capabilities that any process here can ever have.
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

// value is what follows one of the flags, in either spelling; "" when none is there.
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
		wanted, ok := set.([]any)
		if !ok {
			continue
		}
		kept := make([]any, 0, len(wanted))
		for _, capability := range wanted {
			number, known := numbers[fmt.Sprint(capability)]
			if known && bounding&(1<<number) != 0 {
				kept = append(kept, capability)
			}
		}
		sets[name] = kept
	}
}
